"""Encoded bytes → RGB pixels at the size that the network wants."""
