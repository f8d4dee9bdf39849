"""The rows that every kind of input gives, and the checks that they pass."""

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, TypeVar

import pyarrow as pa

from jobs.digests import DigestSet, digest_uris
from jobs.errors import SpecError
from jobs.inputs.names import ALL_NAMES, Names
from jobs.storage import Storage
from jobs.tallies import count, describe

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
# the views, which not all of Arrow's own functions understand
_PLAIN_TYPES = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}

# the columns of a predictions dataset and of the table of objects
_OUR_COLUMNS = frozenset(
    """location offset row size etag width height flags label score labels embedding error_kind
    error model model_version weights_sha256 precision outcome""".split()  # noqa: SIM905
)
_Item = TypeVar("_Item")


@dataclass(slots=True, kw_only=True)
class Source(ABC):
    """One INPUT, as understood; picklable.

    Attributes:
        kind: `objects`, `inventory`, `manifest`, `webdataset` or `parquet`.
        carried: the user's further columns, which go to the output.
        may_repeat: whether two rows may have the same uri; the first one counts.
        beside: files of INPUT that are not read, as it consists of others: suffix → how many.
        names: which rows count.
        named_by_uri: whether those are names that the user gave in a column `uri`.
        duplicates: how many rows `tables` has left out because they repeat a uri.
        passed_over: what else it has left out: pattern or suffix → how many. Both are known once it
            has ended.
    """

    kind: ClassVar[str]
    named_by_uri: ClassVar[bool] = False
    carried: pa.Schema = NOTHING_CARRIED
    may_repeat: bool = True
    beside: Counter[str] = field(default_factory=Counter)
    names: Names = ALL_NAMES
    duplicates: int = field(default=0, compare=False)
    passed_over: Counter[str] = field(default_factory=Counter, compare=False)

    def tables(self, storage: Storage) -> Iterator[pa.Table]:
        """Stream the rows, always the same ones in the same order, at most 1,000 per table.

        Raises:
            SpecError: there is no row, or one is invalid.
            JobError: the input is damaged, or the storage failed.
        """
        seen = DigestSet() if self.may_repeat else None
        self.duplicates = rows = 0
        self.passed_over = self.beside.copy()
        for table in self._listed(storage):
            chosen = self._choose(table) if self.named_by_uri and self.names else table
            rows += chosen.num_rows
            kept = self._first_times(chosen, seen) if seen else chosen
            if kept.num_rows:
                yield kept
        if not rows:
            left_out = f"{describe(self.passed_over)} passed over" if self.passed_over else ""
            raise SpecError(f"{self} has no image: {left_out}" if left_out else f"{self} is empty")

    @abstractmethod
    def _listed(self, storage: Storage) -> Iterator[pa.Table]:
        """Stream all rows."""

    def _counts(self, name: str, *, litter: bool = True) -> bool:
        """Say whether a name counts; count it as passed over if not."""
        reason = self.names.reason(name, litter=litter)
        if reason is not None:
            count(self.passed_over, reason)
        return reason is None

    def _choose(self, table: pa.Table) -> pa.Table:
        chosen = [self._counts(uri, litter=False) for uri in table.column("uri").to_pylist()]
        return table.filter(pa.array(chosen, pa.bool_()))

    def _first_times(self, table: pa.Table, seen: DigestSet) -> pa.Table:
        fresh = seen.first_times(digest_uris(table))
        missing = len(fresh) - int(fresh.sum())
        self.duplicates += missing
        return table.filter(pa.array(fresh)) if missing else table


def in_groups(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut items into lists of `size`, the last one shorter."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def objects_table(count: int, **columns: Iterable[object]) -> pa.Table:
    """Build a table of `count` rows in `OBJECT_SCHEMA`; columns that are not given are null."""
    missing = [None] * count
    arrays = [pa.array(columns.get(x.name, missing), x.type) for x in OBJECT_SCHEMA]
    return pa.table(arrays, schema=OBJECT_SCHEMA)


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
        fields.append(pa.field(free, plain_type(columns.field(name).type)))
    return pa.schema(fields)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that all of Arrow's own functions understand."""
    return _PLAIN_TYPES.get(kind, kind)


def carry(objects: pa.Table, carried: pa.Schema, columns: Iterable[pa.Array]) -> pa.Table:
    """Put the user's columns beside the rows."""
    for name, column in zip(carried, columns, strict=True):
        objects = objects.append_column(name, column.cast(name.type))
    return objects


def limit_rows(tables: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """Pass on the first `limit` rows."""
    left = sys.maxsize if limit is None else limit
    for table in tables:
        yield table.slice(0, left)
        left -= table.num_rows
        if left <= 0:
            return
