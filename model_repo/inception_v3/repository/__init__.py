"""The model repository's files: configs, labels and weights, local or on S3."""
