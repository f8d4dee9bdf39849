"""WebDataset shards: tar files whose members are the images. Only headers are read here."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.ahead import run_ahead
from jobs.inputs.rows import ROWS_PER_TABLE, Source, in_groups, objects_table
from jobs.storage import Storage, StoredObject
from jobs.storage.objects import to_utf8

COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_IMAGE = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_SHARDS_AHEAD = 8
_COMPRESSION_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class _Member(NamedTuple):
    name: str
    offset: int
    size: int


@dataclass(slots=True)
class WebDatasetSource(Source):
    """One row per image member of the shards, in their order."""

    kind = "webdataset"
    shards: tuple[StoredObject, ...]

    def __str__(self) -> str:
        return f"the input ({len(self.shards)} tar files, the first {self.shards[0].uri})"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        calls = ((1, partial(scan_shard, storage, shard.uri)) for shard in self.shards)
        scanned = run_ahead(calls, threads=_SHARDS_AHEAD, ahead=_SHARDS_AHEAD, name="scan")
        for shard, members in zip(self.shards, scanned, strict=True):
            for group in in_groups(members, ROWS_PER_TABLE):
                names, offsets, sizes = zip(*group, strict=True)
                yield objects_table(
                    len(group),
                    uri=[f"{shard.uri}#{name}" for name in names],
                    location=[shard.uri] * len(group),
                    offset=offsets,
                    size=sizes,
                    etag=[shard.etag or None] * len(group),
                )


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
                yield _Member(to_utf8(member.name), member.offset_data, member.size)
        # tarfile takes a damaged header for the end; the end is a block of zeros, or nothing
        file.seek(archive.offset)
        rest = file.read(tarfile.BLOCKSIZE)
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {archive.offset:,}")
