"""S3, for jobs and the service alike: one connection, one reader, one meaning for each fault."""
