"""Encoded bytes → upright 8-bit RGB."""
