"""Pixels → outputs: the network, its checkpoints, and the runtimes that compute it."""
