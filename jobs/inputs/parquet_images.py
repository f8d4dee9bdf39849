"""Parquet files that hold the images themselves, in a binary column."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from jobs.errors import SpecError
from jobs.inputs.rows import Source, carried_schema, carry, objects_table
from jobs.inputs.tables import ParquetTable, Rows, holds_bytes, table_errors, with_text
from jobs.storage import Storage
from model_repo.inception_v3.decoding.formats import is_image

_CELLS_LOOKED_AT = 100
_CELLS_AT_ONCE = 8
_FIRST_BYTES = 1024
_BUFFER_BYTES = 1 << 20  # read at once; without it, a whole row group would be


@dataclass(slots=True)
class ParquetSource(Source):
    """One row per row of Parquet files that have the image column; images are not read here."""

    kind = "parquet"
    named_by_uri = True
    table: ParquetTable
    image_column: str

    def __post_init__(self) -> None:
        if self.names and "uri" not in self.table.columns.names:
            raise SpecError(
                "--include and --exclude choose by name, and this input has no column 'uri'; "
                "leave them out"
            )

    def __str__(self) -> str:
        return f"the input ({len(self.table.files)} Parquet files)"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        names = [name for name in self.table.columns.names if name != self.image_column]
        for rows in self.table.rows(storage, names):
            carried = (rows.columns[name] for name in names if name != "uri")
            yield carry(_objects(rows), self.carried, carried)


def open_parquet_images(table: ParquetTable, image_column: str | None) -> ParquetSource:
    """Take a table for images.

    Raises:
        SpecError: there is no such column, or more than one; or a file lacks it.
    """
    columns = with_text(table.columns, "uri")
    image = find_image_column(columns, image_column, table.files[0].uri)
    for name in {image, "uri"} & table.lacking.keys():
        raise SpecError(
            f"{table.lacking[name]} has no column {name!r}, which other files of the input have; "
            "leave it out, or give it that column"
        )
    carried = carried_schema(columns, without=image)
    table = replace(table, columns=columns)
    return ParquetSource(table, image, carried=carried, may_repeat="uri" in columns.names)


def holds_images(storage: Storage, table: ParquetTable) -> bool:
    """Say whether a table that names objects holds images as well: in its first binary cells."""
    columns = [column.name for column in table.columns if holds_bytes(column.type)]
    return any(
        is_image((cell or b"")[:_FIRST_BYTES])
        for name in columns
        for cell in islice(_cells(storage, table, name), _CELLS_LOOKED_AT)
    )


def find_image_column(columns: pa.Schema, asked: str | None, uri: str) -> str:
    """Return the column that holds images: the one named by the user, or the only binary one.

    Raises:
        SpecError: there is no such column, or more than one; it names the candidates.
    """
    images = [x.name for x in columns if x.name != "uri" and holds_bytes(x.type)]
    if asked is not None and asked in images:
        return asked
    if asked is not None:
        what = "is not binary" if asked in columns.names else "does not exist"
        raise SpecError(
            f"column {asked!r} of {uri} {what}; binary columns are: {', '.join(images) or 'none'}"
        )
    if len(images) == 1:
        return str(images[0])
    if images:
        raise SpecError(
            f"{uri} has more than one binary column; choose with --image-column: "
            f"{', '.join(images)}"
        )
    missing = (
        "no binary column" if "uri" in columns.names else "neither a 'uri' nor a binary column"
    )
    raise SpecError(f"{uri} has {missing}; its columns are {', '.join(columns.names)}")


def image_leaf(columns: pa.Schema, name: str) -> str:
    """Return the path of the bytes: the column, or `.bytes` in Hugging Face's struct."""
    return f"{name}.bytes" if pa.types.is_struct(columns.field(name).type) else name


def _objects(rows: Rows) -> pa.Table:
    file, numbers = rows.file, range(rows.first, rows.first + rows.length)
    uris: list[str] = [f"{file.uri}#{number}" for number in numbers]
    if "uri" in rows.columns:
        uris = rows.columns["uri"].to_pylist()
        if not all(uris):
            number = next(rows.first + at for at, uri in enumerate(uris, 1) if not uri)
            raise SpecError(f"row {number} of {file.uri} has no uri")
    return objects_table(
        rows.length,
        uri=uris,
        location=[file.uri] * rows.length,
        row=numbers,
        etag=[file.etag or None] * rows.length,
    )


def _cells(storage: Storage, table: ParquetTable, name: str) -> Iterator[bytes | None]:
    """Read the cells of a binary column, a few at a time."""
    for stored in table.files:
        with table_errors(stored.uri), storage.open(stored.uri) as opened:
            file = pa.parquet.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            if name not in file.schema_arrow.names:
                continue
            leaf = image_leaf(file.schema_arrow, name)
            for batch in file.iter_batches(_CELLS_AT_ONCE, columns=[leaf], use_threads=False):
                values: list[Any] = batch.column(0).to_pylist()
                yield from (x["bytes"] if isinstance(x, dict) else x for x in values)
