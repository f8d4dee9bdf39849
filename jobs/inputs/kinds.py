"""How INPUT is read, told by the names of its files: the rule that docs/inputs.md gives."""

import posixpath
from collections import Counter
from itertools import chain, islice
from typing import Literal, NamedTuple

from jobs.errors import SpecError
from jobs.inputs.objects import Listing
from jobs.storage import Storage, StoredObject
from jobs.tallies import count, suffix_of

InputFormat = Literal["objects", "manifest", "parquet", "webdataset"]
Family = Literal["object", "tar", "parquet", "list", "note"]

LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_NOTES = (".json", ".md", ".txt", ".yaml", ".yml", ".idx", ".crc")
_NAMED_NOTES = ("LICENSE", "README", "Thumbs.db")
_OTHER_COMPRESSION = (".bz2", ".xz", ".zip", ".zst")
_FAMILIES: dict[InputFormat | None, tuple[Family, ...]] = {
    "webdataset": ("tar",),
    "parquet": ("parquet",),
    "manifest": ("parquet", "list"),
}
_READ_ALONE: dict[Family, str] = {
    "tar": "--input-format webdataset to read the .tar files alone",
    "parquet": "--input-format parquet or manifest to read the .parquet files alone",
}
_LOOKED_AT = 500  # names of a folder; the first page of a listing on S3 has them


class Found(NamedTuple):
    """Every object is an image, or these files are shards or tables.

    Attributes:
        family: of the files; `object` if there are none.
        beside: how many other files there are, by suffix.
        is_mixed: whether some of those may be images.
    """

    family: Family
    files: tuple[StoredObject, ...] = ()
    beside: Counter[str] = Counter()  # noqa: RUF012
    is_mixed: bool = False


def list_ending(uri: str) -> str | None:
    """Return which kind of list a name stands for: `.csv` for `a.csv.gz`."""
    ending = _ending(uri.removesuffix(".gz").removesuffix(".GZ"))
    return ending if ending in LISTS else None


def find_named(stored: StoredObject, asked: InputFormat | None) -> Found:
    """Say how the object is read that INPUT itself names.

    Raises:
        SpecError: it is to be a manifest, but its name stands for no kind of table, or it is a list
            in a compression that is not read.
    """
    packed = next((x for x in _OTHER_COMPRESSION if stored.uri.lower().endswith(x)), None)
    if packed and list_ending(stored.uri[: -len(packed)]) and asked in (None, "manifest"):
        raise SpecError(f"list {stored.uri} has to be plain or gzipped; compress it with gzip")
    by_name: Family = "list" if list_ending(stored.uri) else _family(stored.uri, stored.uri)
    if asked == "manifest" and by_name not in _FAMILIES[asked]:
        raise SpecError(
            f"--input-format manifest: the name of {stored.uri} does not say what table it is; "
            f"rename it to end in .parquet, {', '.join(LISTS)}, or one of the latter and .gz"
        )
    if asked in ("webdataset", "parquet"):
        (by_name,) = _FAMILIES[asked]
    if asked == "objects" or by_name in ("object", "note"):
        return Found("object")
    return Found(by_name, (stored,))


def first_objects(listing: Listing, storage: Storage) -> list[StoredObject]:
    """List the first ones; of a glob, which may match few, up to one that tells what it is for.

    Raises:
        StorageError: the listing failed.
    """
    found = []
    for stored in islice(listing.objects(storage), _LOOKED_AT):
        found.append(stored)
        if listing.pattern and _family(stored.uri, listing.root) in ("object", "tar", "parquet"):
            break
    return found


def find_listed(
    listing: Listing, head: list[StoredObject], storage: Storage, asked: InputFormat | None
) -> Found:
    """Say how the objects of a folder, prefix or glob are read; maybe with no file as `asked`.

    `head` are the first of them. Only where they are shards or tables, all are listed here.

    Raises:
        SpecError: their names allow two readings.
    """
    families = _FAMILIES.get(asked) or (_guess(listing, head) if asked is None else ())
    if not families:
        return Found("object")
    files: dict[Family, list[StoredObject]] = {family: [] for family in families}
    beside, is_mixed = Counter[str](), False
    for stored in listing.objects(storage):
        family = _family(stored.uri, listing.root)
        if family in files:
            files[family].append(stored)
        elif family == "object" and asked is None:
            raise _ambiguous(listing, next(x[0] for x in files.values() if x), stored)
        else:
            count(beside, suffix_of(stored.uri))
            is_mixed |= family == "object"
    taken, *others = sorted(families, key=lambda family: not files[family])
    if asked is None and taken == "tar":
        _check_companions(listing, files)
    for stored in chain.from_iterable(files[family] for family in others):
        count(beside, suffix_of(stored.uri))
    return Found(taken, tuple(files[taken]), beside, is_mixed)


def _guess(listing: Listing, head: list[StoredObject]) -> tuple[Family, ...]:
    """Return the families of the files to read; none if every object is an image."""
    firsts: dict[Family, StoredObject] = {}
    for stored in head:
        firsts.setdefault(_family(stored.uri, listing.root), stored)
    shard = firsts.get("tar") or firsts.get("parquet")
    if shard and "object" in firsts:
        raise _ambiguous(listing, shard, firsts["object"])
    if shard:
        return "tar", "parquet"
    are_lists = "list" in firsts and "object" not in firsts and len(head) < _LOOKED_AT
    return ("list",) if are_lists else ()


def _family(uri: str, root: str) -> Family:
    """Sort a name. A note says something about the files beside it, or about those who use them."""
    below = uri.removeprefix(root).split("/")
    ending, name = _ending(uri), uri.rpartition("/")[2]
    if any(part.startswith(("_", ".")) for part in below) or name in _NAMED_NOTES:
        return "note"
    if ending in _NOTES:
        return "note"
    if ending == ".tar":
        return "tar"
    if ending == ".parquet":
        return "parquet"
    return "list" if list_ending(uri) else "object"


def _check_companions(listing: Listing, files: dict[Family, list[StoredObject]]) -> None:
    """Make sure that each Parquet file says something about a tar file of the same name."""
    tars = {posixpath.splitext(stored.uri)[0] for stored in files["tar"]}
    for stored in files["parquet"]:
        if posixpath.splitext(stored.uri)[0] not in tars:
            raise _ambiguous(listing, files["tar"][0], stored)


def _ambiguous(listing: Listing, one: StoredObject, other: StoredObject) -> SpecError:
    readings = [_READ_ALONE.get(_family(x.uri, listing.root), "") for x in (one, other)]
    return SpecError(
        f"input {listing.uri} can be read in two ways, as it holds {one.uri} and {other.uri}; "
        f"choose {readings[0]}, or "
        f"{readings[1] or '--input-format objects to take every object for an image'}"
    )


def _ending(uri: str) -> str:
    return posixpath.splitext(uri)[1].lower()
