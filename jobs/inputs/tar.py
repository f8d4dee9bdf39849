"""Tar files: the headers of all members, and the bytes of one. Nothing is taken on trust."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from jobs.errors import FetchError
from jobs.storage import Fetched, Storage
from jobs.storage.objects import check_size

# What tarfile raises for damaged archives.
TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError)

_WHOLE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
AFTER_THE_END = "after the end of a tar"
_ZEROS_READ = 16 << 20  # behind an archive, in search of another one
_PIECE_BYTES = 1 << 20


class Place(NamedTuple):
    """Where the bytes of a member lie in its tar file.

    Those of a sparse member, of which the holes are not stored, have no `size`: its `offset` is
    that of its header.
    """

    offset: int
    size: int | None


def read_headers(file: BinaryIO, passed_over: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of all members; a further archive behind the first is read, too.

    What else comes behind the end is counted as `passed_over`.

    Raises:
        TAR_ERRORS: the file is damaged.
    """
    start: int | None = 0
    while start is not None:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            end = start
            while member := archive.next():
                vars(archive)["members"].clear()  # or it would keep every member
                if member.size < 0 or archive.offset <= end:
                    raise tarfile.ReadError(f"a size that cannot be, at byte {member.offset:,}")
                end = archive.offset
                yield member
            end = archive.offset
        start = _find_next_archive(file, end, passed_over)


def place_of(member: tarfile.TarInfo) -> Place:
    """Return what `read_member` needs."""
    if member.issparse():
        return Place(member.offset, None)
    return Place(member.offset_data, member.size)


def read_member(storage: Storage, uri: str, place: Place, etag: str | None) -> Fetched:
    """Read a member's bytes, after its header, which must be where it was.

    Raises:
        FetchError: the tar file cannot be read or has changed, or the member is not there.
        StorageError: the storage itself fails.
    """
    if place.size is None:
        return _read_sparse(storage, uri, place.offset, etag)
    check_size(f"the member at byte {place.offset:,} of {uri}", place.size)
    start, size = place.offset - tarfile.BLOCKSIZE, place.size + tarfile.BLOCKSIZE
    found = storage.read(uri, offset=start, expected_size=size, expected_etag=etag)
    header = _parse(found.data[: tarfile.BLOCKSIZE])
    if header is None or header.type not in _WHOLE_TYPES or header.size != place.size:
        raise _not_there(uri, place.offset)
    return Fetched(found.data[tarfile.BLOCKSIZE :], found.etag)


def _read_sparse(storage: Storage, uri: str, offset: int, etag: str | None) -> Fetched:
    try:
        with storage.open(uri, expected_etag=etag) as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                member = archive.next()
                if member is None or not member.issparse():
                    raise _not_there(uri, offset)
                check_size(f"the sparse member at byte {offset:,} of {uri}", member.size)
                return Fetched(_expand(file, member), file.etag)
    except TAR_ERRORS as exc:
        raise FetchError(
            "unreadable",
            f"the sparse member at byte {offset:,} of {uri} is damaged ({exc}); write the tar "
            "again, without --sparse",
        ) from exc


def _expand(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    """Read the pieces of a sparse member, which lie one behind the other, and fill the holes."""
    pieces: list[tuple[int, int]] = getattr(member, "sparse", [])
    data = bytearray(member.size)
    file.seek(member.offset_data)
    filled = 0
    for start, length in pieces:
        if not length:
            continue
        if not filled <= start <= start + length <= member.size:
            raise tarfile.ReadError("its pieces overlap")
        piece = file.read(length)
        if len(piece) < length:
            raise tarfile.ReadError("unexpected end of data")
        filled = start + length
        data[start:filled] = piece
    return bytes(data)


def _find_next_archive(file: BinaryIO, end: int, passed_over: Counter[str]) -> int | None:
    """Return where the next archive begins: at the first byte behind the zeros of an end."""
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        # tarfile takes a damaged header for the end; the end is a block of zeros, or nothing
        raise tarfile.ReadError(f"no header at byte {end:,}")
    read, piece = tarfile.BLOCKSIZE, b"\0"
    while read < _ZEROS_READ and (piece := file.read(_PIECE_BYTES)):
        if rest := piece.lstrip(b"\0"):
            start = end + read + len(piece) - len(rest)
            file.seek(start)
            if _parse(file.read(tarfile.BLOCKSIZE)):
                return start
            break
        read += len(piece)
    if piece:
        passed_over[AFTER_THE_END] += 1
    return None


def _parse(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except TAR_ERRORS:
        return None


def _not_there(uri: str, offset: int) -> FetchError:
    return FetchError(
        "unreadable",
        f"no such member at byte {offset:,} of {uri}; start over with --overwrite to list it again",
    )
