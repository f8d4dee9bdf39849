"""Tar files: the headers of all members, and the bytes of one. Nothing is taken on trust."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from typing import BinaryIO, NamedTuple

from jobs.errors import FetchError
from jobs.storage import Fetched, Storage
from jobs.storage.objects import check_size

# What tarfile raises for damaged archives.
TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError)

_BLOCK = tarfile.BLOCKSIZE
_WHOLE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
AFTER_THE_END = "after the end of a tar"
_MOST_READ = 16 << 20  # behind an archive, in search of another one
_PIECE_BYTES = 1 << 20


class Place(NamedTuple):
    """Where the bytes of a member lie in its tar file.

    Without a `size`, `offset` is that of its first header, and only its headers tell: it is sparse,
    so that its holes are not stored, or a PAX header has its size.
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
    if member.issparse() or "size" in member.pax_headers:
        return Place(member.offset, None)
    return Place(member.offset_data, member.size)


def read_member(storage: Storage, uri: str, place: Place, etag: str | None) -> Fetched:
    """Read a member's bytes, after its header, which must be where it was.

    Raises:
        FetchError: the tar file cannot be read or has changed, or the member is not there.
        StorageError: the storage itself fails.
    """
    if place.size is None:
        return _read_by_headers(storage, uri, place.offset, etag)
    check_size(f"the member at byte {place.offset:,} of {uri}", place.size)
    start, size = place.offset - _BLOCK, place.size + _BLOCK
    found = storage.read(uri, offset=start, expected_size=size, expected_etag=etag)
    header = _parse(found.data[:_BLOCK])
    if header is None or header.type not in _WHOLE_TYPES or header.size != place.size:
        raise _not_there(uri, place.offset)
    return Fetched(found.data[_BLOCK:], found.etag)


def _read_by_headers(storage: Storage, uri: str, offset: int, etag: str | None) -> Fetched:
    try:
        with storage.open(uri, expected_etag=etag) as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                member = archive.next()
                if member is None or place_of(member) != Place(offset, None):
                    raise _not_there(uri, offset)
                check_size(f"the member at byte {offset:,} of {uri}", member.size)
                return Fetched(_expand(file, member), file.etag)
    except TAR_ERRORS as exc:
        raise FetchError(
            "unreadable",
            f"the member at byte {offset:,} of {uri} is damaged ({exc}); write the tar again, "
            "without --sparse",
        ) from exc


def _expand(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    """Read the pieces of a member, which lie one behind the other, and fill the holes."""
    pieces: list[tuple[int, int]] | None = getattr(member, "sparse", None)
    data = bytearray(member.size)
    file.seek(member.offset_data)
    filled = 0
    for start, length in [(0, member.size)] if pieces is None else pieces:
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
    """Return where the next archive begins: at the first byte behind the zeros of an end.

    Raises:
        tarfile.ReadError: there is no end, but a header that is damaged.
    """
    file.seek(end)
    zeros, is_over = _count_zeros(file)
    if is_over:
        return None
    start = end + zeros
    file.seek(start)
    if zeros and _parse(file.read(_BLOCK)):
        return start
    # tarfile takes a damaged header for the end; the end is two blocks of zeros, or nothing
    if zeros < 2 * _BLOCK or (zeros < _MOST_READ and _has_headers(file, end, start)):
        raise tarfile.ReadError(f"no header at byte {end:,}")
    passed_over[AFTER_THE_END] += 1
    return None


def _count_zeros(file: BinaryIO) -> tuple[int, bool]:
    """Return how many zeros come next, as far as they are read, and whether the file ends there."""
    count = 0
    while count < _MOST_READ:
        piece = file.read(_PIECE_BYTES)
        rest = piece.lstrip(b"\0")
        count += len(piece) - len(rest)
        if rest or not piece:
            return count, not piece
    return count, False


def _has_headers(file: BinaryIO, end: int, start: int) -> bool:
    """Say whether members follow though their beginning is lost; not all that follows is read."""
    file.seek(end + (start - end) // _BLOCK * _BLOCK)
    blocks = (file.read(_BLOCK) for _ in range(_MOST_READ // _BLOCK))
    return any(block[257:262] == b"ustar" and _parse(block) for block in takewhile(bool, blocks))


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
