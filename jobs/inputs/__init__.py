"""What INPUT may be, and the rows that it gives."""

from jobs.errors import SpecError
from jobs.inputs.globs import has_glob
from jobs.inputs.inventory import find_inventory
from jobs.inputs.kinds import InputFormat, find_listed, find_named, first_objects
from jobs.inputs.manifests import open_manifest
from jobs.inputs.objects import Listing, ObjectSource, glob_listing
from jobs.inputs.parquet_images import holds_images, open_parquet_images
from jobs.inputs.rows import OBJECT_SCHEMA, Source
from jobs.inputs.tables import ParquetTable, open_lists, open_parquet
from jobs.inputs.webdataset import COMPRESSED_TAR, WebDatasetSource, compressed_tar
from jobs.storage import (
    NoBucketError,
    Storage,
    StoredObject,
    is_s3,
    local_path,
    to_uri,
)

__all__ = ["OBJECT_SCHEMA", "Source", "open_source"]

_FILES: dict[str | None, str] = {
    "webdataset": "tar files",
    "parquet": "Parquet files",
    "manifest": "tables",
}


def open_source(
    text: str,
    storage: Storage,
    *,
    image_column: str | None = None,
    input_format: InputFormat | None = None,
) -> Source:
    """Find out what INPUT is, a path, uri or glob: objects, a manifest, tar shards or Parquet.

    Raises:
        SpecError: it does not exist, is empty, or can be read in no way, or in two.
        StorageError: the storage failed.
    """
    asked = input_format or (None if image_column is None else "parquet")
    if image_column is not None and asked != "parquet":
        raise SpecError(f"--image-column is for --input-format parquet, not for {asked}")
    listing, head = _find(text, storage)
    first = head[0]
    if asked is None and (inventory := find_inventory(storage, listing.uri, first.uri)):
        return inventory
    is_named = first.uri == listing.uri
    found = find_named(first, asked) if is_named else find_listed(listing, head, storage, asked)
    is_one_table = not (is_named or listing.pattern or found.is_mixed)
    folder = _folder_above(listing.uri) if is_one_table else None
    source: Source
    match found.family:
        case "object":
            if asked is None and first.uri.lower().endswith(COMPRESSED_TAR):
                raise compressed_tar(first.uri)
            source = ObjectSource(listing, may_repeat=False)
        case _ if not found.files:
            option = f"--input-format {asked}" if image_column is None else "--image-column"
            raise SpecError(f"{option} is for {_FILES[asked]}; input {text!r} has none")
        case "tar":
            source = WebDatasetSource(found.files)
        case "list":
            source = open_manifest(open_lists(storage, found.files), folder)
        case _:
            table = open_parquet(storage, found.files, listing.uri)
            if asked == "manifest" or (asked is None and _names_objects(table, storage)):
                source = open_manifest(table, folder)
            else:
                source = open_parquet_images(table, image_column)
    source.beside = found.beside
    return source


def _find(text: str, storage: Storage) -> tuple[Listing, list[StoredObject]]:
    """Return what has to be listed, and the first objects."""
    uri = to_uri(text)
    if not is_s3(uri):
        uri = to_uri(local_path(uri))
    elif has_glob(uri.split("/")[2]):
        raise SpecError(f"{text!r} must name its bucket; a glob can only be in the key")
    listing = Listing(uri)
    try:
        head = first_objects(listing, storage)
        if not head and has_glob(uri):
            listing = glob_listing(uri)
            head = first_objects(listing, storage)
    except NoBucketError as exc:
        raise SpecError(f"input {text!r} does not exist: {exc}") from exc
    if not head:
        raise _nothing(text, uri, listing)
    return listing, head


def _names_objects(table: ParquetTable, storage: Storage) -> bool:
    """Say whether the rows name objects; a table that holds the images names its rows."""
    return "uri" in table.columns.names and not holds_images(storage, table)


def _folder_above(uri: str) -> str:
    """Return the folder that a folder lies in; of a whole bucket, the bucket."""
    folder = uri.rstrip("/")
    return folder if is_s3(uri) and folder.count("/") == 2 else folder.rpartition("/")[0]


def _nothing(text: str, uri: str, listing: Listing) -> SpecError:
    if listing.pattern is not None:
        return SpecError(f"input {text!r} matches nothing under {listing.uri}")
    if is_s3(uri):
        return SpecError(f"input {text!r} does not exist: the bucket has no object there")
    return SpecError(f"input {text!r} does not exist or is empty")
