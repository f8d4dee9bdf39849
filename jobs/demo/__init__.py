"""`labelmill demo`: the real command on sample photos in its own S3 server."""
