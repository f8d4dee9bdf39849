"""Folders, prefixes, globs and single objects: every object listed is an image."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from jobs.inputs.globs import literal_prefix, translate_glob
from jobs.inputs.rows import ROWS_PER_TABLE, Source, in_groups, objects_table
from jobs.storage import Storage, StoredObject, is_s3
from jobs.storage.objects import raw_uri, to_utf8


@dataclass(frozen=True, slots=True)
class Listing:
    """Which objects are meant.

    Attributes:
        uri: the folder, prefix or object where listing starts.
        starts_with: how the names directly under it begin.
        pattern: a regular expression that a whole uri must match, as `raw_uri` gives it; None takes
            every uri.
    """

    uri: str
    starts_with: str = ""
    pattern: str | None = None

    @property
    def root(self) -> str:
        """Return what all uris begin with, up to the first letter of a name."""
        named = self.starts_with
        return self.uri + named[: len(named) - len(named.lstrip("_."))]

    def objects(self, storage: Storage) -> Iterator[StoredObject]:
        """List them.

        Raises:
            StorageError: the listing failed.
        """
        found = storage.list(self.uri, starts_with=self.starts_with)
        if self.pattern is None:
            return found
        matches = re.compile(self.pattern, re.DOTALL).fullmatch
        return (stored for stored in found if matches(raw_uri(stored.uri)))


@dataclass(slots=True)
class ObjectSource(Source):
    """One row per listed object, in the order of the listing."""

    kind = "objects"
    listing: Listing

    def __str__(self) -> str:
        return self.listing.uri

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        for listed in in_groups(_distinct(self.listing.objects(storage)), ROWS_PER_TABLE):
            group, uris = listed, [stored.uri for stored in listed]
            if not self.names.take_all(uris):
                group = [stored for stored in listed if self._is_chosen(stored.uri)]
                uris = [stored.uri for stored in group]
            yield objects_table(
                len(group),
                uri=uris,
                location=uris,
                size=[stored.size if stored.etag else None for stored in group],
                etag=[stored.etag or None for stored in group],
            )

    def _is_chosen(self, uri: str) -> bool:
        is_named = uri == self.listing.uri
        folder = raw_uri(uri if is_named else self.listing.uri).rstrip("/")
        folder = folder.rpartition("/")[0] if is_named else folder
        name = raw_uri(uri).removeprefix(f"{folder}/")
        return self._counts(name, litter=not is_named)


def _distinct(objects: Iterable[StoredObject]) -> Iterator[StoredObject]:
    """During writes, a server may list the last key of a page again."""
    last = None
    for stored in objects:
        if stored.uri != last:
            last = stored.uri
            yield stored


def glob_listing(uri: str) -> Listing:
    """Turn a glob into the listing that it filters."""
    glob = raw_uri(uri)
    folder, _, starts_with = literal_prefix(glob).rpartition("/")
    above = folder if is_s3(folder) else to_utf8(folder)
    return Listing(f"{above}/", starts_with, translate_glob(glob))
