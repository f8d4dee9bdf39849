"""Tables: the rows of some files as one stream, whose columns have one type throughout."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from jobs.errors import FetchError, JobError, SpecError
from jobs.inputs.rows import plain_type
from jobs.storage import Storage, StoredObject


class Rows(NamedTuple):
    """Some consecutive rows of a file, the first of which has the number `first`, from 0."""

    file: StoredObject
    first: int
    length: int
    columns: dict[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Table(ABC):
    """Files, and the columns that they have together; picklable."""

    files: tuple[StoredObject, ...]
    columns: pa.Schema

    @abstractmethod
    def rows(self, storage: Storage, names: list[str]) -> Iterator[Rows]:
        """Stream some of the columns, at most 1,000 rows at a time.

        Raises:
            SpecError: a value does not fit; the message names file, row and column.
            JobError: the storage failed.
        """


@contextmanager
def table_errors(uri: str) -> Iterator[None]:
    """Turn what table readers raise into a sentence that names the file."""
    try:
        yield
    except FetchError as exc:
        raise JobError(f"cannot read {uri}: {exc}") from exc
    except (pa.ArrowException, UnicodeError, OSError, EOFError, zlib.error) as exc:
        raise SpecError(f"cannot read {uri} as a table: {str(exc).partition(chr(10))[0]}") from exc


def merge_columns(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """Find the columns that files have together, each with a type for all of its values.

    Raises:
        SpecError: two columns of a file have the same name, or no type is wide enough.
    """
    merged: dict[str, pa.DataType] = {}
    for uri, schema in schemas:
        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise SpecError(f"{uri} has more than one column named {twice[0]!r}; rename one")
        for column in schema:
            kind = plain_type(column.type)
            before = merged.setdefault(column.name, kind)
            if before != kind:
                merged[column.name] = _common_type(column.name, before, kind, uri)
    return pa.schema(list(merged.items()))


def with_text(columns: pa.Schema, name: str) -> pa.Schema:
    """Make a column a string."""
    at = columns.get_field_index(name)
    return columns if at < 0 else columns.set(at, pa.field(name, pa.string()))


def holds_bytes(kind: pa.DataType) -> bool:
    """Say whether a column may hold images: it is binary, or Hugging Face's struct."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and holds_bytes(kind.field(at).type)
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def fit(values: pa.Array, kind: pa.DataType, name: str, uri: str, first: int) -> pa.Array:
    """Give values another type; `name`, `uri` and `first` say where they are.

    Raises:
        SpecError: one does not fit.
    """
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except pa.ArrowException:
        for at in range(len(values)):
            try:
                values.slice(at, 1).cast(kind)
            except pa.ArrowException as exc:
                raise misfit(name, uri, first + at, exc) from exc
        raise


def misfit(name: str, uri: str, row: int, reason: object) -> SpecError:
    """Say which value cannot be read; rows are counted from 0."""
    text = str(reason).partition("\n")[0]
    return SpecError(f"row {row + 1} of {uri}: the value of {name!r} cannot be read: {text}")


def _common_type(name: str, before: pa.DataType, kind: pa.DataType, uri: str) -> pa.DataType:
    if holds_bytes(before) and holds_bytes(kind):  # cells are read file by file
        return before
    plain = [x.value_type if pa.types.is_dictionary(x) else x for x in (before, kind)]
    # Arrow would round decimals to doubles without a word.
    is_rounded = any(map(pa.types.is_floating, plain)) and any(map(pa.types.is_decimal, plain))
    for pair in () if is_rounded else ((before, kind), plain):
        try:
            schemas = [pa.schema([(name, x)]) for x in pair]
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except pa.ArrowException:
            continue
    raise SpecError(
        f"column {name!r} of {uri} is {kind}, but {before} in the files before it; "
        "give it the same type in all files"
    )
