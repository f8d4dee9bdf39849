"""Objects on local disk (and whatever is mounted there)."""

import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jobs.errors import FetchError, StorageError
from jobs.storage.objects import Part, StoredObject, check_size, local_path, to_uri

_FOLDER_ATTEMPTS = 10


class LocalStorage:
    """What `Storage` does for `file://`."""

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """Walk a folder in the order of names; a single file lists itself.

        Symbolic links are followed, a link back to a folder above it is not entered. What cannot be
        looked at is listed with an unknown etag, so that reading it says why.

        Raises:
            StorageError: a folder cannot be read.
        """
        path = local_path(uri)
        if not os.path.isdir(path):
            if os.path.lexists(path):
                yield from self._file(path)
            return
        # one iterator of names per open folder, with what identifies the folder
        walk = [(path, self._names(path, starts_with), _identity(path))]
        while walk:
            folder, names, _ = walk[-1]
            name = next(names, None)
            if name is None:
                walk.pop()
                continue
            entry = os.path.join(folder, name)
            if not os.path.isdir(entry):
                yield from self._file(entry)
            elif (identity := _identity(entry)) not in (above for _, _, above in walk):
                walk.append((entry, self._names(entry), identity))

    def head(self, uri: str) -> StoredObject | None:
        """Look at one file.

        Raises:
            StorageError: it, or a folder above it, may not be looked at.
        """
        path = local_path(uri)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as exc:
            raise StorageError(f"cannot look at {path!r}: {_reason(exc)}") from exc
        if not stat.S_ISREG(found.st_mode):
            return None
        return StoredObject(uri, found.st_size, _etag(found))

    def read(self, uri: str, offset: int | None, length: int | None) -> Part:
        """Read a file, or `length` bytes of it from `offset`, once.

        Raises:
            FetchError: it cannot be read.
        """
        path = local_path(uri)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO would wait for ever
                raise FetchError("storage", f"{uri} is not a regular file")
            with open(path, "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                start = offset or 0
                size = max(found.st_size - start, 0) if length is None else length
                check_size(uri, size)
                file.seek(start)
                data = _read_exactly(file, size)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise FetchError("not_found", f"{uri} does not exist") from exc
        except PermissionError as exc:
            raise FetchError("access_denied", f"{uri} may not be read") from exc
        except (OSError, ValueError) as exc:
            raise FetchError("storage", f"cannot read {uri}: {_reason(exc)}") from exc
        return Part(data, size, _etag(found))

    def write(self, uri: str, data: bytes) -> None:
        """Write a file whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        self._put(uri, lambda path: _write_durably(path, data))

    def upload(self, uri: str, path: Path) -> None:
        """Copy a file whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        self._put(uri, lambda temporary: shutil.copyfile(path, temporary))

    def delete(self, uris: Iterable[str]) -> None:
        """Delete files, and the folders that become empty by it.

        Raises:
            StorageError: a file cannot be deleted.
        """
        for uri in uris:
            path = local_path(uri)
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise StorageError(f"cannot delete {path!r}: {_reason(exc)}") from exc
            with suppress(OSError):
                os.rmdir(os.path.dirname(path))

    def _names(self, folder: str, starts_with: str = "") -> Iterator[str]:
        try:
            names = os.listdir(folder)
        except OSError as exc:
            raise StorageError(f"cannot list folder {folder!r}: {_reason(exc)}") from exc
        return iter(sorted(name for name in names if name.startswith(starts_with)))

    def _file(self, path: str) -> Iterator[StoredObject]:
        try:
            found = os.stat(path)
        except OSError:
            yield StoredObject(to_uri(path), 0, "")
            return
        if stat.S_ISREG(found.st_mode):
            yield StoredObject(to_uri(path), found.st_size, _etag(found))

    def _put(self, uri: str, fill: Callable[[str], object]) -> None:
        path = local_path(uri)
        folder = os.path.dirname(path)
        temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
        try:
            _make_and_fill(folder, temporary, fill)
            os.replace(temporary, path)
        except OSError as exc:
            raise StorageError(f"cannot write {path!r}: {_reason(exc)}") from exc
        finally:
            with suppress(OSError):
                os.unlink(temporary)


def _make_and_fill(folder: str, path: str, fill: Callable[[str], object]) -> None:
    """Make a folder and a file in it, though `delete` may just then find the folder empty."""
    for attempts_left in reversed(range(_FOLDER_ATTEMPTS)):
        os.makedirs(folder, exist_ok=True)
        try:
            fill(path)
        except FileNotFoundError:
            if not attempts_left:
                raise
        else:
            return


def _identity(folder: str) -> str:
    return os.path.realpath(folder)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _reason(exc: OSError | ValueError) -> str:
    return (exc.strerror or str(exc)).lower() if isinstance(exc, OSError) else str(exc)


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, or fewer where the file ends."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _write_durably(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
