"""`labelmill demo`: the real command on sample photos in an S3 server of its own."""
