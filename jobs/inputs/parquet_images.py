"""Parquet files that hold the images themselves, in a binary column."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.parquet

from jobs.errors import SpecError
from jobs.inputs.manifests import manifest_errors
from jobs.inputs.rows import ROWS_PER_TABLE, Source, carried_schema, carry, objects_table
from jobs.storage import Storage, StoredObject


@dataclass(slots=True)
class ParquetSource(Source):
    """One row per row of Parquet files that have the image column; images are not read here."""

    kind = "parquet"
    named_by_uri = True
    files: tuple[StoredObject, ...]
    image_column: str
    columns: pa.Schema

    def __post_init__(self) -> None:
        if self.names and "uri" not in self.columns.names:
            raise SpecError(
                "--include and --exclude choose by name, and this input has no column 'uri'; "
                "leave them out"
            )

    def __str__(self) -> str:
        return f"the input ({len(self.files)} Parquet files)"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        return chain.from_iterable(self._file_tables(storage, stored) for stored in self.files)

    def _file_tables(self, storage: Storage, stored: StoredObject) -> Iterator[pa.Table]:
        names = [name for name in self.columns.names if name != self.image_column]
        with manifest_errors(stored.uri), storage.open(stored.uri) as opened:
            file = pa.parquet.ParquetFile(opened)
            missing = [name for name in self.columns.names if name not in file.schema_arrow.names]
            if missing:
                raise SpecError(
                    f"{stored.uri} has no column {missing[0]!r}, which {self.files[0].uri} has; "
                    "all files of one input need the same columns"
                )
            done = 0
            for batch in file.iter_batches(ROWS_PER_TABLE, columns=names, use_threads=False):
                rows = self._rows(stored, batch, done)
                others = (batch[name] for name in names if name != "uri")
                yield carry(rows, self.carried, others)
                done += batch.num_rows

    def _rows(self, stored: StoredObject, batch: pa.RecordBatch, first: int) -> pa.Table:
        numbers = range(first, first + batch.num_rows)
        uris: list[str] = [f"{stored.uri}#{number}" for number in numbers]
        if "uri" in batch.schema.names:
            uris = batch["uri"].cast(pa.string()).to_pylist()
            if not all(uris):
                number = next(first + at for at, uri in enumerate(uris, 1) if not uri)
                raise SpecError(f"row {number} of {stored.uri} has no uri")
        return objects_table(
            batch.num_rows,
            uri=uris,
            location=[stored.uri] * batch.num_rows,
            row=numbers,
            etag=[stored.etag or None] * batch.num_rows,
        )


def open_parquet_images(
    storage: Storage, files: tuple[StoredObject, ...], image_column: str | None
) -> ParquetSource:
    """Find the image column and the others, from the first file.

    Raises:
        SpecError: there is no such column, or more than one.
    """
    columns = parquet_columns(storage, files[0].uri)
    image = find_image_column(columns, image_column, files[0].uri)
    carried = carried_schema(columns, without=image)
    return ParquetSource(files, image, columns, carried=carried, may_repeat="uri" in columns.names)


def parquet_columns(storage: Storage, uri: str) -> pa.Schema:
    """Read a Parquet file's columns.

    Raises:
        SpecError: it is not a Parquet file.
        JobError: it cannot be read.
    """
    with manifest_errors(uri), storage.open(uri) as file:
        return pa.parquet.read_schema(file)


def find_image_column(columns: pa.Schema, asked: str | None, uri: str) -> str:
    """Return the column that holds images: the one named by the user, or the only binary one.

    Raises:
        SpecError: there is no such column, or more than one; it names the candidates.
    """
    images = [column.name for column in columns if _holds_bytes(column.type)]
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
    raise SpecError(
        f"{uri} has neither a 'uri' column nor a binary one; its columns are "
        f"{', '.join(columns.names)}"
    )


def image_leaf(columns: pa.Schema, name: str) -> str:
    """Return the path of the bytes: the column, or `.bytes` in Hugging Face's struct."""
    return f"{name}.bytes" if pa.types.is_struct(columns.field(name).type) else name


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())
