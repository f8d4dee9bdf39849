"""S3 for jobs and the service: connecting, listing, reading, retrying, and naming faults."""
