"""URIs of the form `s3://bucket/key`; the key is raw, not percent-encoded."""

_S3 = "s3://"


def is_s3(uri: str) -> bool:
    """Say whether the URI names something on S3."""
    return uri.startswith(_S3)


def split_s3(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and raw key."""
    bucket, _, key = uri.removeprefix(_S3).partition("/")
    return bucket, key
