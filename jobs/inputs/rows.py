"""The rows that every kind of input gives, and what is checked on their way."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from jobs.errors import SpecError
from jobs.storage import Storage

OBJECT_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        ("location", pa.string()),
        ("offset", pa.int64()),
        ("row", pa.int64()),
        ("size", pa.int64()),
        ("etag", pa.string()),
    ]
)
NOTHING_CARRIED = pa.schema([])
ROWS_PER_TABLE = 1000

# what a predictions dataset or the table of objects calls its own
_OUR_COLUMNS = frozenset(
    """location offset row size etag width height flags label score labels embedding error_kind
    error model model_version weights_sha256 outcome""".split()  # noqa: SIM905
)
_Item = TypeVar("_Item")


class Source(Protocol):
    """One INPUT, understood; frozen and picklable."""

    @property
    def kind(self) -> str:
        """`objects`, `manifest`, `webdataset` or `parquet`."""

    @property
    def carried(self) -> pa.Schema:
        """The user's further columns, which go to the output."""

    @property
    def duplicates(self) -> int:
        """Rows left out because their uri had come before; known once `tables` has ended."""

    def tables(self, storage: Storage) -> Iterator[pa.Table]:
        """Stream the rows, always the same ones in the same order, at most 1,000 per table.

        Raises:
            SpecError: a row of the user's makes no sense.
            JobError: the input is damaged, or the storage failed.
        """


@dataclass(slots=True)
class Tally:
    """Counts what was left out."""

    duplicates: int = 0


@dataclass(slots=True)
class _Seen:
    """Remembers 16 bytes per value, in sorted arrays that are merged as they grow."""

    arrays: list[np.ndarray] = field(default_factory=list)

    def first_times(self, values: Iterable[str]) -> np.ndarray:
        """Say of each value whether it comes for the first time."""
        digests = np.array(
            [hashlib.blake2b(value.encode(), digest_size=16).digest() for value in values], "S16"
        )
        fresh = np.zeros(len(digests), bool)
        fresh[np.unique(digests, return_index=True)[1]] = True
        for array in self.arrays:
            places = np.minimum(np.searchsorted(array, digests), len(array) - 1)
            fresh &= array[places] != digests
        self._add(np.sort(digests[fresh]))
        return fresh

    def _add(self, array: np.ndarray) -> None:
        while self.arrays and len(self.arrays[-1]) <= len(array):
            array = np.sort(np.concatenate([self.arrays.pop(), array]), kind="stable")
        if len(array):
            self.arrays.append(array)


def drop_duplicates(tables: Iterable[pa.Table], tally: Tally) -> Iterator[pa.Table]:
    """Keep the first row of each uri, and count the others."""
    seen = _Seen()
    tally.duplicates = 0
    for table in tables:
        fresh = seen.first_times(table["uri"].to_pylist())
        missing = len(fresh) - int(fresh.sum())
        tally.duplicates += missing
        kept = table.filter(pa.array(fresh)) if missing else table
        if kept.num_rows:
            yield kept


def not_empty(tables: Iterable[pa.Table], what: str) -> Iterator[pa.Table]:
    """Pass tables on.

    Raises:
        SpecError: there was no row at all.
    """
    rows = 0
    for table in tables:
        rows += table.num_rows
        yield table
    if rows == 0:
        raise SpecError(f"{what} is empty")


def in_groups(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut items into lists of `size`, the last one shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def objects_table(count: int, **columns: Iterable[object]) -> pa.Table:
    """Build a table of `count` rows in `OBJECT_SCHEMA`; columns that are not given are null."""
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(count, field.type)
            for field in OBJECT_SCHEMA
        ],
        schema=OBJECT_SCHEMA,
    )


def carried_schema(columns: pa.Schema, *, without: str) -> pa.Schema:
    """Name the user's columns in the output: as they are, or `input_<name>` on a clash.

    Raises:
        SpecError: two columns have the same name.
    """
    names = [column.name for column in columns if column.name not in (without, "uri")]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"the input has more than one column named {twice[0]!r}; rename one")
    taken, fields = set(names), []
    for name in names:
        free = name
        while (
            free in _OUR_COLUMNS or free.startswith("features_") or (free != name and free in taken)
        ):
            free = f"input_{free}"
        taken.add(free)
        fields.append(pa.field(free, _plain_type(columns.field(name).type)))
    return pa.schema(fields)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Replace the views that Arrow's own functions do not all understand."""
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def carry(objects: pa.Table, carried: pa.Schema, columns: Iterable[pa.Array]) -> pa.Table:
    """Put the user's columns beside the rows."""
    for column_field, column in zip(carried, columns, strict=True):
        objects = objects.append_column(column_field, column.cast(column_field.type))
    return objects
