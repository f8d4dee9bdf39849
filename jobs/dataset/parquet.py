"""Parquet files in storage: read by columns, and written as they grow."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.dataset.layout import Layout
from jobs.errors import StorageError
from jobs.storage import Storage
from jobs.storage.scratch import scratch_errors

# What a process holds while it writes. Rows without embeddings are some hundred bytes.
_ROW_GROUP_BYTES = 16 * 1024 * 1024
_SMALL_BYTES = 16 * 1024 * 1024
_ATTEMPTS = 3


def data_files(layout: Layout, storage: Storage) -> list[str]:
    """Return the files that hold the dataset's rows."""
    folders = [layout.outcome(outcome) for outcome in ("ok", "error")]
    stored = (item.uri for folder in folders for item in storage.list(folder))
    return [uri for uri in stored if uri.endswith(".parquet")]  # not what a killed writer left


def read_groups(
    storage: Storage,
    uri: str,
    names: Sequence[str] | None = None,
    *,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.Table]:
    """Read a Parquet file row group by row group; one that seems damaged is read again.

    Its pages have checksums. `names` that the file lacks are left out; None means all, as it does
    for `groups`.

    Raises:
        StorageError: it is damaged, or cannot be read.
    """
    done = 0
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            file = _open(storage, uri)
            wanted = range(file.num_row_groups) if groups is None else groups
            present = [x for x in file.schema_arrow.names if names is None or x in names]
            while done < len(wanted):
                yield file.read_row_group(wanted[done], columns=present, use_threads=False)
                done += 1
        except (pa.ArrowException, OSError) as exc:
            if not attempts_left:
                raise StorageError(f"{uri} is damaged: {exc}") from exc
        else:
            return


def encode_table(table: pa.Table) -> bytes:
    """Return a table as a file."""
    buffer = io.BytesIO()
    options = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(buffer, table.schema, **options) as writer:
        if table.num_rows:  # Hugging Face's datasets stumbles over a row group that is empty
            writer.write_table(table)
    return buffer.getvalue()


def group_sizes(storage: Storage, uri: str) -> list[int]:
    """Return how many rows each row group of a file has."""
    return [table.num_rows for table in read_groups(storage, uri, ("uri",))]


def _open(storage: Storage, uri: str) -> pq.ParquetFile:
    """Open a file: read whole, and so compared with its checksum, unless it is large."""
    found = storage.head(uri)
    is_small = found is not None and found.size <= _SMALL_BYTES
    file = io.BytesIO(storage.read(uri).data) if is_small else storage.open(uri)
    return pq.ParquetFile(file, page_checksum_verification=True)


class BufferedParquetWriter:
    """A Parquet file that grows table by table, in row groups of a useful size.

    A context manager; if it ends well, the object is written, or deleted if there was no row.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        self._storage = storage
        self._uri = uri
        self._folder = tempfile.TemporaryDirectory(prefix="labelmill-")
        self._path = Path(self._folder.name) / "part.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        with self._folder:
            if exc_type is not None:
                return
            self._flush()
            if self._writer is None:
                self._storage.delete([self._uri])
                return
            with scratch_errors():
                self._writer.close()
            self._storage.upload(self._uri, self._path)

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
        with scratch_errors():
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self._path, table.schema, compression="zstd", write_page_checksum=True
                )
            self._writer.write_table(table, row_group_size=table.num_rows)
