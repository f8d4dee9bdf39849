"""What S3 stores, and the error when it cannot be reached or read."""

from dataclasses import dataclass
from typing import Literal

S3ErrorKind = Literal["no_bucket", "denied", "failed"]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object, as a listing or a HEAD request describes it.

    Attributes:
        uri: `s3://bucket/key` (jobs also have `file:///path`); the key is raw.
        size: in bytes.
        etag: changes when the bytes change; `""` when unknown, and then `size` is unknown too.
    """

    uri: str
    size: int
    etag: str


class S3Error(Exception):
    """S3 failed after every retry; the message says what to do.

    Attributes:
        kind: `no_bucket`, `denied` (the credentials are valid, but not for this) or `failed`.
    """

    def __init__(self, message: str, kind: S3ErrorKind = "failed") -> None:
        super().__init__(message)
        self.kind: S3ErrorKind = kind


def strip_quotes(etag: str | None) -> str:
    """Return an etag without its quotes."""
    return (etag or "").strip('"')
