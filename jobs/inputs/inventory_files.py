"""Data files of an S3 Inventory, in CSV, ORC or Parquet: checked, then read in pieces."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from jobs.errors import JobError, SpecError
from jobs.storage import Storage
from jobs.storage.scratch import scratch_errors

# By their names without underscores, in lower case: CSV says `IsLatest`, the others `is_latest`.
COLUMNS = pa.schema(
    [
        pa.field("bucket", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        ("islatest", pa.bool_()),
        ("isdeletemarker", pa.bool_()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("storageclass", pa.string()),
        ("intelligenttieringaccesstier", pa.string()),
    ]
)
_ROWS_AT_ONCE = 32_768
_CSV_BLOCK_BYTES = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"

_Batches = Iterator[pa.RecordBatch]


def read_data_file(
    storage: Storage, uri: str, md5: str | None, file_format: str, file_schema: str
) -> _Batches:
    """Yield a file's rows in pieces, with `COLUMNS`; those that it lacks are null.

    The format and the schema are the manifest's; only CSV needs the latter.

    Raises:
        JobError: the file is not what the manifest says, or cannot be read.
        SpecError: it has no bucket or no key.
    """
    with _downloaded(storage, uri, md5) as file:
        if file_format == "CSV":
            batches = _read_csv(file, file_schema)
        else:
            batches = _read_orc(file) if file_format == "ORC" else _read_parquet(file)
        for batch in batches:
            yield _in_our_columns(batch, uri)


@contextmanager
def _downloaded(storage: Storage, uri: str, md5: str | None) -> Iterator[IO[bytes]]:
    """Copy a file to local disk: ORC and Parquet are read in many small ranges."""
    digest = hashlib.md5(usedforsecurity=False)
    with tempfile.TemporaryFile() as file:
        for piece in storage.stream(uri):
            digest.update(piece)
            with scratch_errors():
                file.write(piece)
        if md5 and digest.hexdigest() != md5.lower():
            raise JobError(
                f"{uri} is not what its inventory lists: MD5 {md5} expected, "
                f"{digest.hexdigest()} found; take a newer inventory"
            )
        file.seek(0)
        yield file


def _read_csv(file: IO[bytes], file_schema: str) -> _Batches:
    """Read a file without a header; an empty value is null."""
    names = [_ours(name.strip()) for name in file_schema.split(",")]
    packed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    try:
        batches = pa.csv.open_csv(
            pa.CompressedInputStream(file, "gzip") if packed else file,
            pa.csv.ReadOptions(column_names=names, block_size=_CSV_BLOCK_BYTES, use_threads=False),
            convert_options=pa.csv.ConvertOptions(
                include_columns=[name for name in COLUMNS.names if name in names],
                column_types=COLUMNS,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as exc:
        if "Empty CSV file" in str(exc):
            return
        raise
    yield from map(_with_decoded_keys, batches)


def _with_decoded_keys(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Undo the URL encoding of keys, where a plus is a space; only CSV has it."""
    at = batch.schema.get_field_index("key")
    if at < 0:
        return batch
    keys = [key and unquote_plus(key, errors="strict") for key in batch["key"].to_pylist()]
    return batch.set_column(at, "key", pa.array(keys, pa.string()))


def _read_orc(file: IO[bytes]) -> _Batches:
    """Read in pieces of a stripe, as `pyarrow.orc` cannot: one may hold millions of rows."""
    orc = pa.dataset.OrcFileFormat().make_fragment(file)
    columns = _wanted(orc.physical_schema.names)
    yield from orc.to_batches(columns=columns, batch_size=_ROWS_AT_ONCE, use_threads=False)


def _read_parquet(file: IO[bytes]) -> _Batches:
    parquet = pa.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    columns = _wanted(parquet.schema_arrow.names)
    yield from parquet.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False)


def _ours(name: str) -> str:
    return name.replace("_", "").lower()


def _wanted(names: list[str]) -> list[str]:
    return [name for name in names if _ours(name) in COLUMNS.names]


def _in_our_columns(batch: pa.RecordBatch, uri: str) -> pa.RecordBatch:
    found = {_ours(name): batch[name] for name in batch.schema.names}
    arrays = []
    for column in COLUMNS:
        array = found.get(column.name, pa.nulls(batch.num_rows)).cast(column.type)
        if array.null_count and not column.nullable:
            raise SpecError(f"{uri} has a row without a {column.name}; an inventory has none")
        arrays.append(array)
    return pa.record_batch(arrays, schema=COLUMNS)
