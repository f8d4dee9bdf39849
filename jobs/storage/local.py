"""Objects on local disk, and on whatever is mounted there."""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jobs.errors import FetchError, StorageError
from jobs.storage.objects import DeniedError, Part, Wanted, check_size, local_path, to_uri
from model_repo.inception_v3.s3.objects import StoredObject

# errors that would hit any other file, too
_MACHINE_TROUBLE = {
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "raise the system's limit (fs.file-max)",
    errno.ENOMEM: "free memory on this machine",
    errno.ENOTCONN: "mount its file system again",
    errno.ENODEV: "mount its file system again",
}
_NO_FILE = (errno.ELOOP, errno.ENAMETOOLONG)
_COPY_BYTES = 1 << 20
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # some network file systems
_FOLDER_ATTEMPTS = 10


@contextmanager
def no_new_folders(uri: str) -> Iterator[None]:
    """Remove the folders above a local file that are made meanwhile, if they are empty then."""
    missing, folder = [], os.path.dirname(local_path(uri))
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                os.rmdir(folder)


class LocalStorage:
    """`Storage` for `file://`: each method does and raises what `Storage` says."""

    def __init__(self) -> None:
        self._mount: tuple[str, int] | None = None  # a folder that was read from, and its device

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """Walk a folder in the order of names.

        Symbolic links are followed, except back to a folder above. A file without access is
        listed with an unknown etag, so that reading it says why.
        """
        path = local_path(uri)
        if not os.path.isdir(path):
            if os.path.lexists(path):
                yield from _file(path)
            return
        # an iterator of names per open folder, and the folder's identity
        walk = [(path, _names(path, starts_with), os.path.realpath(path))]
        while walk:
            folder, names, _ = walk[-1]
            name = next(names, None)
            if name is None:
                walk.pop()
                continue
            entry = os.path.join(folder, name)
            if not os.path.isdir(entry):
                yield from _file(entry)
            elif (identity := os.path.realpath(entry)) not in (above for _, _, above in walk):
                walk.append((entry, _names(entry), identity))

    def head(self, uri: str) -> StoredObject | None:
        """Look up one file; None if it is not a regular file."""
        path = local_path(uri)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as exc:
            if exc.errno in _NO_FILE:
                return None
            kind = DeniedError if isinstance(exc, PermissionError) else StorageError
            raise kind(f"cannot look at {path!r}: {_reason(exc)}") from exc
        if not stat.S_ISREG(found.st_mode):
            return None
        return StoredObject(uri, found.st_size, _etag(found))

    def read(self, wanted: Wanted) -> Part:
        """Read once; the storage fails when the machine lacks a resource, or a mount is gone."""
        uri, path = wanted.uri, local_path(wanted.uri)
        try:
            part = _read(path, wanted)
        except (FileNotFoundError, NotADirectoryError) as exc:
            self._check_mounted()
            raise FetchError("not_found", f"{uri} does not exist") from exc
        except PermissionError as exc:
            raise FetchError("access_denied", f"{uri} may not be read") from exc
        except (OSError, ValueError) as exc:
            self._check_mounted()
            remedy = _MACHINE_TROUBLE.get(getattr(exc, "errno", None) or 0)
            if remedy:
                raise StorageError(f"cannot read {path!r}: {_reason(exc)}; {remedy}") from exc
            raise FetchError("storage", f"cannot read {uri}: {_reason(exc)}") from exc
        folder = os.path.dirname(path)
        if self._mount is None or self._mount[0] != folder:
            with suppress(OSError):
                self._mount = (folder, _device(folder))
        return part

    def write(self, uri: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        self._put(uri, lambda file: file.write(data))

    def upload(self, uri: str, path: Path) -> None:
        """Copy a file, whole or not at all."""
        with _write_errors(str(path)):
            source = path.open("rb")
        with source:
            self._put(uri, lambda file: shutil.copyfileobj(source, file, _COPY_BYTES))

    def delete(self, uris: Iterable[str]) -> None:
        """Delete files, and their folders if those are then empty."""
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

    def _put(self, uri: str, fill: Callable[[BinaryIO], object]) -> None:
        path = local_path(uri)
        folder = os.path.dirname(path)
        # a killed process leaves it behind; nothing reads names that end like this
        temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
        with _write_errors(path):
            try:
                with _create(temporary) as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                _sync_folder(folder)
            finally:
                with suppress(OSError):
                    os.unlink(temporary)

    def _check_mounted(self) -> None:
        """Tell a missing file from a missing file system.

        Raises:
            StorageError: the file system that was read from last is no longer mounted.
        """
        if self._mount is None:
            return
        folder, device = self._mount
        there = folder
        while not os.path.exists(there):
            there = os.path.dirname(there)
        with suppress(OSError):
            if _device(there) == device:
                return
        raise StorageError(f"the file system of {folder!r} is gone; mount it again")


def _names(folder: str, starts_with: str = "") -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError as exc:
        raise StorageError(f"cannot list folder {folder!r}: {_reason(exc)}") from exc
    return iter(sorted(name for name in names if name.startswith(starts_with)))


def _file(path: str) -> Iterator[StoredObject]:
    try:
        found = os.stat(path)
    except OSError:
        yield StoredObject(to_uri(path), 0, "")
        return
    if stat.S_ISREG(found.st_mode):
        yield StoredObject(to_uri(path), found.st_size, _etag(found))


@contextmanager
def _write_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"cannot write {path!r}: {_reason(exc)}") from exc


def _read(path: str, wanted: Wanted) -> Part:
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO would block forever
        raise FetchError("storage", f"{wanted.uri} is not a regular file")
    with open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        start = wanted.offset or 0
        size = max(found.st_size - start, 0) if wanted.length is None else wanted.length
        check_size(wanted.uri, size)
        file.seek(start)
        return Part(_read_exactly(file, size), size, _etag(found))


def _device(folder: str) -> int:
    return os.stat(folder).st_dev


def _create(path: str) -> BinaryIO:
    """Create a file and its folder, even if `delete` removes the empty folder in between."""
    for _ in range(_FOLDER_ATTEMPTS):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileNotFoundError):
            return open(path, "xb")
    return open(path, "xb")


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


def _sync_folder(folder: str) -> None:
    """Make a folder's new entry survive a power cut, if the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
