"""Pixels → outputs: the network, its checkpoint, and what computes it."""
