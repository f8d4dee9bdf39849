"""Images that were stored gzipped, as `Content-Encoding: gzip` says or their names do."""

import gzip
import io
import zlib

from jobs.errors import FetchError
from jobs.storage.objects import MAX_OBJECT_BYTES
from model_repo.inception_v3 import DecodeError
from model_repo.inception_v3.decoding.formats import image_format

_MAGIC = b"\x1f\x8b\x08"  # no image begins like this
_FIRST_BYTES = 1024
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


def undo_gzip(data: bytes, limit: int = MAX_OBJECT_BYTES) -> bytes:
    """Return what was compressed, or the same bytes where nothing was.

    Raises:
        FetchError: there are more than `limit` bytes in it.
        DecodeError: it is damaged, or no image.
    """
    if not data.startswith(_MAGIC):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            start = file.read(_FIRST_BYTES)
            image_format(start)  # of what is no image, no more is decompressed
            plain = start + file.read(limit + 1 - len(start))
    except _DAMAGED as exc:
        raise DecodeError("unreadable", f"compressed with gzip, and damaged: {exc}") from exc
    if len(plain) > limit:
        raise FetchError("too_large", f"more than {limit:,} bytes, once decompressed")
    return plain
