"""A seekable file over ranged reads of one object."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.storage.objects import MAX_OBJECT_BYTES, Fetched
from model_repo.inception_v3.s3.objects import StoredObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class StoredFile(io.BufferedReader):
    """One version of an object, named by `etag`, as a file.

    Reads raise a `FetchError` if the object has gone or changed, a `StorageError` if the storage
    itself fails.
    """

    def __init__(
        self, stored: StoredObject, read: Callable[..., Fetched], buffer_bytes: int
    ) -> None:
        """Prepare to read `stored`, with `Storage.read`, in ranges of `buffer_bytes` or more."""
        self.etag = stored.etag
        super().__init__(_RangeReader(stored, read), buffer_bytes)


class _RangeReader(io.RawIOBase):
    """Reads ranges for an `io.BufferedReader`."""

    def __init__(self, stored: StoredObject, read: Callable[..., Fetched]) -> None:
        super().__init__()
        self._object = stored
        self._read = read
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._object.size)[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), max(self._object.size - self._position, 0), MAX_OBJECT_BYTES)
        if size == 0:
            return 0
        view[:size] = self._read(
            self._object.uri,
            expected_size=size,
            expected_etag=self._object.etag,
            offset=self._position,
        ).data
        self._position += size
        return size
