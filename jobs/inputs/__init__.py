"""What INPUT may be, and the rows that it gives."""

import posixpath

from jobs.errors import SpecError
from jobs.inputs.globs import has_glob
from jobs.inputs.inventory import find_inventory
from jobs.inputs.manifests import open_manifest
from jobs.inputs.objects import Listing, ObjectSource, glob_listing
from jobs.inputs.parquet_images import open_parquet_images, parquet_columns
from jobs.inputs.rows import OBJECT_SCHEMA, Source
from jobs.inputs.webdataset import COMPRESSED_TAR, WebDatasetSource, compressed_tar
from jobs.storage import NoBucketError, Storage, StoredObject, is_s3, local_path, to_uri

__all__ = ["OBJECT_SCHEMA", "Source", "open_source"]

_LINES = (".csv", ".jsonl", ".ndjson")


def open_source(text: str, storage: Storage, *, image_column: str | None = None) -> Source:
    """Find out what INPUT is, a path, uri or glob: objects, a manifest, tar shards or Parquet.

    Raises:
        SpecError: it does not exist, is empty, or is nothing that can be labelled.
        StorageError: the storage failed.
    """
    uri = to_uri(text)
    if not is_s3(uri):
        uri = to_uri(local_path(uri))
    elif has_glob(uri.split("/")[2]):
        raise SpecError(f"{text!r} must name its bucket; a glob can only be in the key")
    listing = Listing(uri)
    try:
        first = next(listing.objects(storage), None)
        if first is None and has_glob(uri):
            listing = glob_listing(uri)
            first = next(listing.objects(storage), None)
    except NoBucketError as exc:
        raise SpecError(f"input {text!r} does not exist: {exc}") from exc
    if first is None:
        raise _nothing(text, uri, listing)
    if image_column is None and (inventory := find_inventory(storage, uri, first.uri)):
        return inventory
    shards = _shards(listing, first, storage, image_column)
    if image_column is not None and not shards:
        raise SpecError(f"--image-column is for Parquet files; input {text!r} has none")
    if shards:
        is_tar = _extension(shards[0].uri) == ".tar"
        return WebDatasetSource(shards) if is_tar else _open_parquet(storage, shards, image_column)
    if first.uri == uri and _extension(uri) in _LINES:
        return open_manifest(storage, uri)
    if first.uri.lower().endswith(COMPRESSED_TAR):
        raise compressed_tar(first.uri)
    return ObjectSource(listing, may_repeat=False)


def _shards(
    listing: Listing, first: StoredObject, storage: Storage, image_column: str | None
) -> tuple[StoredObject, ...]:
    """Return the tar or Parquet files; if other files are beside them, only for an image column."""
    kind = _extension(first.uri) if image_column is None else ".parquet"
    if kind not in (".tar", ".parquet"):
        return ()
    shards = []
    for stored in listing.objects(storage):
        if _extension(stored.uri) == kind:
            shards.append(stored)
        elif image_column is None:
            return ()
    return tuple(shards)


def _open_parquet(
    storage: Storage, files: tuple[StoredObject, ...], image_column: str | None
) -> Source:
    uri = files[0].uri
    if image_column is None and len(files) == 1 and "uri" in parquet_columns(storage, uri).names:
        return open_manifest(storage, uri)
    return open_parquet_images(storage, files, image_column)


def _nothing(text: str, uri: str, listing: Listing) -> SpecError:
    if listing.pattern is not None:
        return SpecError(f"input {text!r} matches nothing under {listing.uri}")
    if is_s3(uri):
        return SpecError(f"input {text!r} does not exist: the bucket has no object there")
    return SpecError(f"input {text!r} does not exist or is empty")


def _extension(uri: str) -> str:
    return posixpath.splitext(uri)[1].lower()
