"""Finished chunks → the predictions dataset, once, with accounts that balance."""
