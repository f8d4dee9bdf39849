"""The models of one replica: loading them, decoding, batches and forward passes."""
