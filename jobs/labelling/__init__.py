"""Chunks → rows, on Ray: fetch → decode → predict → write, one file per chunk."""
