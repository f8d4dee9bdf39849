"""Storage: one interface to local disk and S3.

A URI is `s3://bucket/key` or `file:///path`. A `FetchError` means that one object cannot be read; a
`StorageError`, that the storage itself does not work.
"""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import groupby
from pathlib import Path

from jobs.errors import FetchError, StorageError
from jobs.storage.local import LocalStorage, no_new_folders
from jobs.storage.objects import (
    Fetched,
    NoBucketError,
    Part,
    Wanted,
    check_size,
    local_path,
    resolve_uri,
    to_uri,
)
from jobs.storage.ranges import StoredFile
from jobs.storage.s3 import S3Storage
from model_repo.inception_v3.s3.objects import StoredObject
from model_repo.inception_v3.s3.uri import is_s3

__all__ = [
    "Fetched",
    "NoBucketError",
    "Storage",
    "StoredObject",
    "is_s3",
    "leaving_no_folders",
    "local_path",
    "resolve_uri",
    "to_uri",
]

_READ_ATTEMPTS = 4
_PAUSE_S = 0.2
_PIECE_BYTES = 8 << 20
_LOCAL = LocalStorage()
_S3 = S3Storage()


class Storage:
    """Local disk and S3 behind the same methods; cheap to make, picklable, safe in threads."""

    def list(self, uri: str, *, starts_with: str = "") -> Iterator[StoredObject]:
        """List every object under a folder or prefix, always in the same order.

        `s3://b/photos` and `s3://b/photos/` mean the same folder, unless an object has exactly that
        key: then it alone is listed. If nothing is there, nothing is listed. Names directly under
        the folder can be narrowed by how they start.

        Raises:
            StorageError: the listing failed.
        """
        return _backend(uri).list(to_uri(uri), starts_with)

    def head(self, uri: str) -> StoredObject | None:
        """Look up one object without reading it; None if it does not exist.

        Raises:
            DeniedError: the credentials or permissions do not allow it.
            StorageError: the storage failed.
        """
        return _backend(uri).head(to_uri(uri))

    def look(self, uri: str) -> StoredObject:
        """Look up an object that is to be read.

        Raises:
            FetchError: it does not exist or may not be read.
            StorageError: the storage itself fails.
        """
        try:
            found = self.head(uri)
        except StorageError:
            # a failed HEAD does not tell whether the object or the storage is at fault
            self.read(uri, offset=0, expected_size=1)
            raise
        if found is None:
            raise FetchError("not_found", f"{uri} does not exist")
        return found

    def read(
        self,
        uri: str,
        *,
        expected_size: int | None = None,
        expected_etag: str | None = None,
        offset: int | None = None,
    ) -> Fetched:
        """Read a whole object, or `expected_size` bytes of it from `offset`.

        The length is always checked; a whole object's checksum too (on S3, the one that the server
        sends, or an etag that is an MD5). An object overwritten since it was listed (another etag)
        is read as it is now; a range of it is refused.

        Raises:
            FetchError: the object cannot be read intact, although the storage works.
            StorageError: the storage does not work, or refuses these credentials.
        """
        if expected_size is not None:
            check_size(uri, expected_size)
        if offset is not None and expected_size == 0:
            return Fetched(b"", expected_etag or "")
        length = None if offset is None else expected_size
        for attempt in range(_READ_ATTEMPTS):
            time.sleep(random.uniform(0.5, 1) * _PAUSE_S * (2**attempt - 1))
            wanted = Wanted(to_uri(uri), offset, length, expected_etag, attempt)
            part = _backend(uri).read(wanted)
            overwritten = bool(expected_etag and part.etag and part.etag != expected_etag)
            if overwritten and offset is not None:
                raise FetchError("storage", f"{uri} has changed since it was listed")
            expected = part.declared
            if expected_size is not None and not overwritten:
                expected = expected_size
            if part.is_intact and len(part.data) == part.declared == expected:
                return Fetched(part.data, part.etag)
        raise _damaged(uri, part, expected)

    def open(
        self, uri: str, *, buffer_bytes: int = 1 << 20, expected_etag: str | None = None
    ) -> StoredFile:
        """Open an object for seeking and reading, in ranges of at least the buffer.

        Raises:
            FetchError: it does not exist, may not be read, or is not the expected version; reads of
                the returned file raise it too.
            StorageError: the storage itself fails; reads raise it too.
        """
        found = self.look(uri)
        if expected_etag and found.etag and found.etag != expected_etag:
            raise FetchError("storage", f"{uri} has changed since it was listed")
        return StoredFile(found, self.read, buffer_bytes)

    def stream(self, uri: str) -> Iterator[bytes]:
        """Read an object piece by piece; raises as `open` and its reads do."""
        with self.open(uri) as file:
            yield from iter(partial(file.read, _PIECE_BYTES), b"")

    def write(self, uri: str, data: bytes) -> None:
        """Write an object, whole or not at all.

        Raises:
            StorageError: it could not be written.
        """
        _backend(uri).write(to_uri(uri), data)

    def check_bucket(self, uri: str) -> None:
        """Make sure that a bucket exists; some servers would create it on a write.

        Raises:
            NoBucketError: it does not exist.
        """
        if is_s3(uri):
            _S3.check_bucket(uri)

    def upload(self, uri: str, path: Path) -> None:
        """Write a local file as an object, whole or not at all.

        Raises:
            StorageError: it could not be written.
        """
        _backend(uri).upload(to_uri(uri), path)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; missing ones are fine.

        Raises:
            StorageError: one could not be deleted.
        """
        for on_s3, group in groupby(uris, is_s3):
            (_S3 if on_s3 else _LOCAL).delete(map(to_uri, group))


def leaving_no_folders(uri: str) -> AbstractContextManager[None]:
    """Return a context that removes the local folders above `uri` that were made within it."""
    return nullcontext() if is_s3(uri) else no_new_folders(uri)


def _backend(uri: str) -> LocalStorage | S3Storage:
    return _S3 if is_s3(uri) else _LOCAL


def _damaged(uri: str, part: Part, expected: int) -> FetchError:
    received = len(part.data)
    if part.is_intact or received not in (0, expected):
        return FetchError("storage", f"{uri}: {expected:,} bytes expected, {received:,} received")
    return FetchError(
        "storage",
        f"{uri}: the bytes received do not match its checksum ({part.etag}); store it again",
    )
