"""Input manifests: tables with a `uri` column, and others that are carried along."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from jobs.errors import SpecError
from jobs.inputs.rows import Source, carried_schema, carry, objects_table
from jobs.inputs.tables import Rows, Table, with_text
from jobs.storage import Storage, is_s3, resolve_uri
from jobs.storage.objects import SCHEME, raw_uri, to_utf8

_HOME = "~/"


@dataclass(slots=True)
class ManifestSource(Source):
    """One row per row of a table whose column `uri` names objects.

    Attributes:
        folder: where relative uris start; None for the folder that each file lies in.
    """

    kind = "manifest"
    named_by_uri = True
    table: Table
    folder: str | None

    def __str__(self) -> str:
        first, *more = self.table.files
        return f"manifest {first.uri}" + (f" and {len(more):,} more" if more else "")

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        names = self.table.columns.names
        for rows in self.table.rows(storage, names):
            uris = rows.columns["uri"].to_pylist()
            objects = objects_table(len(uris), uri=uris, location=self._locations(rows, uris))
            yield carry(objects, self.carried, (rows.columns[x] for x in names if x != "uri"))

    def _locations(self, rows: Rows, uris: list[str | None]) -> Iterator[str]:
        file = rows.file.uri
        folder = self.folder or file.rpartition("/")[0]
        for number, uri in enumerate(uris, rows.first + 1):
            try:
                yield _locate(uri, folder)
            except SpecError as exc:
                raise SpecError(f"row {number} of {file} {exc}") from exc


def open_manifest(table: Table, folder: str | None) -> ManifestSource:
    """Take a table for a manifest.

    Raises:
        SpecError: it has no `uri` column.
    """
    columns = with_text(table.columns, "uri")
    if "uri" not in columns.names:
        raise SpecError(
            f"manifest {table.files[0].uri} has no 'uri' column; its columns are "
            f"{', '.join(columns.names)}"
        )
    carried = carried_schema(columns, without="uri")
    return ManifestSource(replace(table, columns=columns), folder, carried=carried)


def _locate(uri: str | None, folder: str) -> str:
    """Resolve a row's uri.

    Raises:
        SpecError: it is missing, or names what cannot be read; the message follows the row's name.
    """
    if not uri:
        raise SpecError("has no uri")
    if uri.startswith(("http://", "https://")):
        raise SpecError(
            f"names {uri!r}; web addresses cannot be read, copy the images to a folder or bucket "
            "first"
        )
    if uri.startswith(("/", _HOME, "file:/")) or SCHEME.match(uri):
        try:
            return resolve_uri(uri)
        except SpecError as exc:
            raise SpecError(f"names what cannot be read: {exc}") from exc
    place = f"{raw_uri(folder)}/{uri.removeprefix('./')}"
    return place if is_s3(place) else to_utf8(place)
