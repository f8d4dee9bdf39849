"""A model repository's files: which models there are, and where their weights lie."""
