"""WebDataset shards: tar files whose members are the images. Only headers are read here."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, ClassVar
from urllib.parse import quote_from_bytes

import pyarrow as pa

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.ahead import run_ahead
from jobs.inputs.rows import (
    NOTHING_CARRIED,
    ROWS_PER_TABLE,
    Tally,
    drop_duplicates,
    in_groups,
    not_empty,
    objects_table,
)
from jobs.storage import Storage, StoredObject

COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_IMAGE = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_SHARDS_AHEAD = 8
_COMPRESSION_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class WebDatasetSource:
    """One row per image member of the shards, in their order."""

    shards: tuple[StoredObject, ...]
    tally: Tally = field(default_factory=Tally, compare=False)
    kind: ClassVar[str] = "webdataset"
    carried: ClassVar[pa.Schema] = NOTHING_CARRIED

    @property
    def duplicates(self) -> int:
        """Members whose name an earlier member of the same shard had."""
        return self.tally.duplicates

    def tables(self, storage: Storage) -> Iterator[pa.Table]:
        """Stream the rows; the headers of several shards are read at once.

        Raises:
            SpecError: no shard holds an image.
            JobError: a shard is damaged or cannot be read.
        """
        what = f"the input ({len(self.shards)} tar files, the first {self.shards[0].uri})"
        return drop_duplicates(not_empty(self._all_tables(storage), what), self.tally)

    def _all_tables(self, storage: Storage) -> Iterator[pa.Table]:
        calls = ((1, partial(scan_shard, storage, shard.uri)) for shard in self.shards)
        scanned = run_ahead(calls, threads=_SHARDS_AHEAD, ahead=_SHARDS_AHEAD, name="scan")
        for shard, members in zip(self.shards, scanned, strict=True):
            for group in in_groups(members, ROWS_PER_TABLE):
                yield _members_table(shard, group)


def scan_shard(storage: Storage, uri: str) -> list[_Member]:
    """Find the image members of a tar file.

    Raises:
        JobError: it is damaged, compressed or cannot be read.
    """
    try:
        with storage.open(uri) as file:
            try:
                return list(_image_members(file))
            except tarfile.TarError as exc:
                file.seek(0)
                if file.read(8).startswith(_COMPRESSION_MAGIC):
                    raise compressed_tar(uri) from exc
                raise JobError(f"tar file {uri} is damaged: {exc}") from exc
    except FetchError as exc:
        raise JobError(f"cannot read tar file {uri}: {exc}") from exc


def compressed_tar(uri: str) -> SpecError:
    """Say why a compressed tar cannot be an input."""
    return SpecError(f"{uri} is compressed and so not seekable; unpack or recompress as plain .tar")


def _image_members(file: BinaryIO) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while member := archive.next():
            vars(archive)["members"].clear()  # or it would keep every member
            if member.isreg() and member.name.lower().endswith(_IMAGE):
                yield _Member(_text(member.name), member.offset_data, member.size)
        # tarfile takes a damaged header for the end; the end is a block of zeros, or nothing
        file.seek(archive.offset)
        rest = file.read(tarfile.BLOCKSIZE)
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {archive.offset:,}")


def _text(name: str) -> str:
    """Percent-encode a name that is not valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(name.encode("utf-8", "surrogateescape"))
    return name


def _members_table(shard: StoredObject, members: list[_Member]) -> pa.Table:
    return objects_table(
        len(members),
        uri=[f"{shard.uri}#{member.name}" for member in members],
        location=[shard.uri] * len(members),
        offset=[member.offset for member in members],
        size=[member.size for member in members],
        etag=[shard.etag or None] * len(members),
    )
