"""Input manifests: tables with a `uri` column, and others that are carried along."""

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.rows import ROWS_PER_TABLE, Source, carried_schema, carry, objects_table
from jobs.storage import Storage, to_uri
from jobs.storage.objects import SCHEME

_BLOCK_BYTES = 4 << 20  # no row is longer; the columns of JSONL are those of the first block
_Table = tuple[pa.Schema, Iterator[pa.RecordBatch]]
_Reader = Callable[[Storage, str, pa.Schema | None], _Table]


@dataclass(slots=True)
class ManifestSource(Source):
    """One row per row of a CSV, JSONL or Parquet file with a `uri` column."""

    kind = "manifest"
    named_by_uri = True
    uri: str
    columns: pa.Schema

    def __str__(self) -> str:
        return f"manifest {self.uri}"

    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        folder = self.uri.rpartition("/")[0]
        others = [name for name in self.columns.names if name != "uri"]
        done = 0
        with manifest_errors(self.uri):
            _, batches = _reader(self.uri)(storage, self.uri, self.columns)
            for batch in batches:
                for start in range(0, batch.num_rows, ROWS_PER_TABLE):
                    part = batch.slice(start, ROWS_PER_TABLE)
                    uris = part["uri"].cast(pa.string()).to_pylist()
                    locations = [
                        _locate(uri, folder, self.uri, done + number)
                        for number, uri in enumerate(uris, 1)
                    ]
                    rows = objects_table(len(uris), uri=uris, location=locations)
                    yield carry(rows, self.carried, (part[name] for name in others))
                    done += part.num_rows


def open_manifest(storage: Storage, uri: str) -> ManifestSource:
    """Find a manifest's columns.

    Raises:
        SpecError: it is empty, damaged or without a `uri` column.
    """
    with manifest_errors(uri):
        columns, _ = _reader(uri)(storage, uri, None)
    if "uri" not in columns.names:
        raise SpecError(
            f"manifest {uri} has no 'uri' column; its columns are {', '.join(columns.names)}"
        )
    if columns.names.count("uri") > 1:
        raise SpecError(f"manifest {uri} has more than one 'uri' column")
    return ManifestSource(uri, columns, carried=carried_schema(columns, without="uri"))


@contextmanager
def manifest_errors(uri: str) -> Iterator[None]:
    """Turn what table readers raise into a sentence that names the file."""
    try:
        yield
    except FetchError as exc:
        raise JobError(f"cannot read {uri}: {exc}") from exc
    except (pa.ArrowException, UnicodeError, OSError) as exc:
        raise SpecError(f"cannot read {uri} as a table: {str(exc).partition(chr(10))[0]}") from exc


def _reader(uri: str) -> _Reader:
    extension = posixpath.splitext(uri)[1].lower()
    return {".csv": _read_csv, ".parquet": _read_parquet}.get(extension, _read_jsonl)


def _read_csv(storage: Storage, uri: str, columns: pa.Schema | None) -> _Table:
    """Read every value as a string, also an empty one."""
    options = pa.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
    if columns is None:
        names = pa.csv.open_csv(storage.open(uri), options).schema.names
        return pa.schema([(name, pa.string()) for name in names]), iter(())
    values = pa.csv.ConvertOptions(column_types=columns, strings_can_be_null=False)
    lines = pa.csv.ParseOptions(newlines_in_values=True)
    return columns, pa.csv.open_csv(storage.open(uri), options, lines, values)


def _read_jsonl(storage: Storage, uri: str, columns: pa.Schema | None) -> _Table:
    """Read with the columns of the first block; strings that look like times stay strings."""
    parsing = {}
    if columns is not None:
        parsing = {"explicit_schema": columns, "unexpected_field_behavior": "error"}
    reader = pa.json.open_json(
        storage.open(uri),
        read_options=pa.json.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
        parse_options=pa.json.ParseOptions(newlines_in_values=False, **parsing),
    )
    if columns is None:
        columns = pa.schema([column.with_type(_json_type(column.type)) for column in reader.schema])
    return columns, reader


def _json_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_json_type(kind.value_type))
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        raise pa.ArrowTypeError("a column of empty objects ({}) cannot be carried; drop it")
    if pa.types.is_struct(kind):
        return pa.struct([member.with_type(_json_type(member.type)) for member in kind])
    return kind


def _read_parquet(storage: Storage, uri: str, _columns: pa.Schema | None) -> _Table:
    file = pa.parquet.ParquetFile(storage.open(uri))
    return file.schema_arrow, file.iter_batches(batch_size=ROWS_PER_TABLE, use_threads=False)


def _locate(uri: str | None, folder: str, manifest: str, row: int) -> str:
    """Resolve a row's uri against the manifest's folder.

    Raises:
        SpecError: it is missing, or names what cannot be read.
    """
    if not uri:
        raise SpecError(f"row {row} of {manifest} has no uri")
    if uri.startswith(("http://", "https://")):
        raise SpecError(
            f"row {row} of {manifest} names {uri!r}; web addresses cannot be read, "
            "copy the images to a folder or bucket first"
        )
    if uri.startswith("/") or SCHEME.match(uri):
        try:
            return to_uri(uri)
        except SpecError as exc:
            raise SpecError(f"row {row} of {manifest}: {exc}") from exc
    return f"{folder}/{uri.removeprefix('./')}"
