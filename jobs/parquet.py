"""Parquet files in storage: read by columns, and written as they grow."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.storage import Storage

_ROW_GROUP_BYTES = 64 * 1024 * 1024


def read_columns(storage: Storage, uri: str, names: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Stream those of the columns that a Parquet file has."""
    with storage.open(uri) as opened:
        file = pq.ParquetFile(opened, page_checksum_verification=True)
        present = [name for name in names if name in file.schema_arrow.names]
        yield from file.iter_batches(columns=present, use_threads=False)


class GrowingFile:
    """A Parquet file that grows table by table, in row groups of a useful size.

    A context manager; the object is written when it ends well, or deleted if there was no row.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        self._storage = storage
        self._uri = uri
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "part.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        with self._folder:
            if exc_type is None:
                self._flush()
            if self._writer is not None:
                self._writer.close()
            if exc_type is not None:
                return
            if self._writer is not None:
                self._storage.upload(self._uri, self._path)
            else:
                self._storage.delete([self._uri])

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        if table.num_rows:
            self._pending.append(table)
        if sum(pending.nbytes for pending in self._pending) >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(table, row_group_size=table.num_rows)
