"""WebDataset shards: tar files whose members are the images, by their names or first bytes."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import pyarrow as pa

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.ahead import run_ahead
from jobs.inputs.names import Names
from jobs.inputs.rows import ROWS_PER_TABLE, Source, in_groups, objects_table
from jobs.inputs.tar import TAR_ERRORS, Place, place_of, read_headers
from jobs.storage import Storage, StoredObject
from jobs.storage.objects import to_utf8
from jobs.tallies import add, count, suffix_of
from model_repo.inception_v3.decoding.formats import is_image

COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# Also names of formats that are not read: their error says so.
_IMAGE = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".ppm", ".psd", ".svg"),
)
_SHARDS_AHEAD = 8
_COMPRESSION_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_FIRST_BYTES = 64
# First bytes that an image shares with texts and arrays of numbers.
_AMBIGUOUS = (b"P", b"\xff\x0a", b"\0\0\1\0", b"\0\0\2\0")


@dataclass(frozen=True, slots=True)
class Shard:
    """What a tar file holds: where its images lie, by name, and what was passed over."""

    images: list[tuple[str, Place]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class WebDatasetSource(Source):
    """One row per image member of the shards, in their order."""

    kind = "webdataset"
    shards: tuple[StoredObject, ...]

    def __str__(self) -> str:
        return f"the input ({len(self.shards)} tar files, the first {self.shards[0].uri})"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        calls = ((1, partial(scan_shard, storage, x.uri, self.names)) for x in self.shards)
        scanned = run_ahead(calls, threads=_SHARDS_AHEAD, ahead=_SHARDS_AHEAD, name="scan")
        for stored, shard in zip(self.shards, scanned, strict=True):
            add(self.passed_over, shard.passed_over)
            for group in in_groups(shard.images, ROWS_PER_TABLE):
                yield objects_table(
                    len(group),
                    uri=[f"{stored.uri}#{name}" for name, _ in group],
                    location=[stored.uri] * len(group),
                    offset=[place.offset for _, place in group],
                    size=[place.size for _, place in group],
                    etag=[stored.etag or None] * len(group),
                )


def scan_shard(storage: Storage, uri: str, names: Names) -> Shard:
    """Find the image members of a tar file.

    Raises:
        JobError: it is damaged, compressed or cannot be read.
    """
    try:
        with storage.open(uri) as file:
            try:
                return _find_images(file, names)
            except TAR_ERRORS as exc:
                file.seek(0)
                if file.read(8).startswith(_COMPRESSION_MAGIC):
                    raise compressed_tar(uri) from exc
                raise JobError(f"tar file {uri} is damaged: {exc}") from exc
    except FetchError as exc:
        raise JobError(f"cannot read tar file {uri}: {exc}") from exc


def compressed_tar(uri: str) -> SpecError:
    """Say why a compressed tar cannot be an input."""
    return SpecError(f"{uri} is compressed and so not seekable; unpack or recompress as plain .tar")


def _find_images(file: BinaryIO, names: Names) -> Shard:
    shard, places = Shard(), dict[str, Place]()
    for member in read_headers(file, shard.passed_over):
        if member.isdir():
            continue
        place, reason = places.get(member.linkname) if member.islnk() else None, None
        if place is None:
            place, reason = place_of(member), _why_no_image(member, file)
        if reason is None:
            places[member.name] = place  # a link to it may be chosen where it is not
        reason = names.reason(member.name.removeprefix("./")) or reason
        if reason is None:
            shard.images.append((to_utf8(member.name), place))
        else:
            count(shard.passed_over, reason)
    return shard


def _why_no_image(member: tarfile.TarInfo, file: BinaryIO) -> str | None:
    """Return how a member that is no image is counted, or None for an image."""
    if member.issym() or member.islnk():
        return "links"
    if not member.isreg():
        return "devices" if member.isdev() else "other"
    if member.name.lower().endswith(_IMAGE):
        return None
    file.seek(member.offset_data)
    start = file.read(min(member.size, _FIRST_BYTES))
    begins_like_one = is_image(start) and not start.startswith(_AMBIGUOUS)
    return None if begins_like_one else suffix_of(member.name)
