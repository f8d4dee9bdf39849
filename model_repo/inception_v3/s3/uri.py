"""URIs of the form `s3://bucket/key`; the key is raw, not percent-encoded."""

import re

_S3 = "s3://"
_ALSO_S3 = re.compile(r"s3[an]?://", re.IGNORECASE)


def is_s3(uri: str) -> bool:
    """Say whether the URI names something on S3."""
    return uri.startswith(_S3)


def split_s3(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and raw key."""
    bucket, _, key = uri.removeprefix(_S3).partition("/")
    return bucket, key


def to_s3(text: str) -> str:
    """Write Hadoop's names of S3, `s3a://` and `s3n://`, as `s3://`; any other text stays."""
    return _ALSO_S3.sub(_S3, text, count=1) if _ALSO_S3.match(text) else text
