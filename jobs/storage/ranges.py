"""A seekable file over ranged reads of one object."""

import io
from typing import TYPE_CHECKING, Protocol

from jobs.errors import FetchError, StorageError
from jobs.storage.objects import MAX_OBJECT_BYTES, Fetched
from model_repo.inception_v3.s3.objects import StoredObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Storage(Protocol):
    def head(self, uri: str) -> StoredObject | None: ...
    def read(
        self,
        uri: str,
        *,
        expected_size: int | None = None,
        expected_etag: str | None = None,
        offset: int | None = None,
    ) -> Fetched: ...


class StoredFile(io.BufferedReader):
    """A file that reads one version of an object, in ranges of at least its buffer.

    Attributes:
        etag: the version.

    Raises:
        FetchError: the object is not there, may not be read, or changes while it is read.
        StorageError: the storage itself fails.
    """

    def __init__(
        self, storage: _Storage, uri: str, buffer_bytes: int, expected_etag: str | None
    ) -> None:
        found = _look(storage, uri)
        if expected_etag and found.etag and found.etag != expected_etag:
            raise FetchError("storage", f"{uri} has changed since it was listed")
        self.etag = found.etag
        super().__init__(_RangeReader(storage, found), buffer_bytes)


class _RangeReader(io.RawIOBase):
    """Reads ranges; what an `io.BufferedReader` wants."""

    def __init__(self, storage: _Storage, stored: StoredObject) -> None:
        super().__init__()
        self._storage = storage
        self._object = stored
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._object.size)[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), max(self._object.size - self._position, 0), MAX_OBJECT_BYTES)
        if size == 0:
            return 0
        view[:size] = self._storage.read(
            self._object.uri,
            expected_size=size,
            expected_etag=self._object.etag,
            offset=self._position,
        ).data
        self._position += size
        return size


def _look(storage: _Storage, uri: str) -> StoredObject:
    try:
        found = storage.head(uri)
    except StorageError:
        # a refusal to look does not say whether it is the object or the storage that ails
        storage.read(uri, offset=0, expected_size=1)
        raise
    if found is None:
        raise FetchError("not_found", f"{uri} does not exist")
    return found
