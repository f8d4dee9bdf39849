"""The rows that every kind of input gives, and what is checked on their way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import pyarrow as pa

from jobs.digests import DigestSet, digest_uris
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
    error model model_version weights_sha256 precision outcome""".split()  # noqa: SIM905
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


def drop_duplicates(tables: Iterable[pa.Table], tally: Tally) -> Iterator[pa.Table]:
    """Keep the first row of each uri, and count the others."""
    seen = DigestSet()
    tally.duplicates = 0
    for table in tables:
        fresh = seen.first_times(digest_uris(table))
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


def limit_rows(tables: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Pass on the first `limit` rows."""
    left = limit
    for table in tables:
        if left is None:
            yield table
            continue
        yield table.slice(0, left)
        left -= min(left, table.num_rows)
        if not left:
            return
