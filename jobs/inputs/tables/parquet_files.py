"""Parquet files as one table: columns that some lack, types that differ, partition folders."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet

from jobs.inputs.ahead import run_ahead
from jobs.inputs.rows import ROWS_PER_TABLE
from jobs.inputs.tables.table import Rows, Table, fit, merge_columns, table_errors
from jobs.storage import Storage, StoredObject

_FILES_AHEAD = 8
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as Hive and Spark name a partition of nulls


@dataclass(frozen=True, slots=True)
class ParquetTable(Table):
    """The rows of Parquet files; a column that a file lacks is null.

    Attributes:
        root: the folder whose folders `key=value` are columns, too.
        lacking: column → the first file that lacks it.
    """

    root: str
    lacking: dict[str, str]

    def rows(self, storage: Storage, names: list[str]) -> Iterator[Rows]:
        """Stream some of the columns."""
        for stored in self.files:
            with table_errors(stored.uri), storage.open(stored.uri) as opened:
                file = pa.parquet.ParquetFile(opened)
                here = [name for name in names if name in file.schema_arrow.names]
                first = 0
                for batch in file.iter_batches(ROWS_PER_TABLE, columns=here, use_threads=False):
                    columns = {name: self._column(batch, name, stored, first) for name in names}
                    yield Rows(stored, first, batch.num_rows, columns)
                    first += batch.num_rows

    def _column(
        self, batch: pa.RecordBatch, name: str, stored: StoredObject, first: int
    ) -> pa.Array:
        kind = self.columns.field(name).type
        if name in batch.schema.names:
            return fit(batch.column(name), kind, name, stored.uri, first)
        value = _partitions(stored.uri, self.root).get(name)
        return pa.array([value] * batch.num_rows, pa.string() if value else kind).cast(kind)


def open_parquet(storage: Storage, files: tuple[StoredObject, ...], root: str) -> ParquetTable:
    """Find the columns of Parquet files, of which there may be many.

    Raises:
        SpecError: one is no Parquet file, or a column has no type for all of its values.
        JobError: one cannot be read.
    """
    calls = ((1, partial(_file_columns, storage, stored.uri, root)) for stored in files)
    schemas = run_ahead(calls, threads=_FILES_AHEAD, ahead=_FILES_AHEAD, name="columns")
    lacking: dict[str, str] = {}
    columns = merge_columns(_note_lacking(files, schemas, lacking))
    return ParquetTable(files, columns, root, lacking)


def _note_lacking(
    files: tuple[StoredObject, ...], schemas: Iterator[pa.Schema], lacking: dict[str, str]
) -> Iterator[tuple[str, pa.Schema]]:
    """Pass on the files' columns; note which ones are not everywhere."""
    known: set[str] | None = None
    for stored, schema in zip(files, schemas, strict=True):
        names = set(schema.names)
        known = names if known is None else known
        lacking |= {name: stored.uri for name in known - names - lacking.keys()}
        lacking |= {name: files[0].uri for name in names - known - lacking.keys()}
        known |= names
        yield stored.uri, schema


def _file_columns(storage: Storage, uri: str, root: str) -> pa.Schema:
    with table_errors(uri), storage.open(uri) as file:
        columns = pa.parquet.read_schema(file).remove_metadata()
    for name in _partitions(uri, root):
        if name not in columns.names:
            columns = columns.append(pa.field(name, pa.string()))
    return columns


def _partitions(uri: str, root: str) -> dict[str, str | None]:
    """Read the folders `key=value` between `root` and a file."""
    folders = uri.removeprefix(root).split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    values = {unquote(key): unquote(value) for key, _, value in pairs}
    return {key: None if value == _NO_VALUE else value for key, value in values.items()}
