"""Lists as tables: CSV, TSV, JSON lines, or one uri a line; plain or gzipped."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.inputs.kinds import list_ending
from jobs.inputs.tables import json_lines
from jobs.inputs.tables.delimited import read_delimited, read_header, read_uris
from jobs.inputs.tables.json_types import without_nulls
from jobs.inputs.tables.lines import Lines
from jobs.inputs.tables.table import Rows, Table, merge_columns, table_errors, with_text
from jobs.storage import Storage, StoredObject

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True)
class ListTable(Table):
    """The rows of lists, each read as its name says."""

    def rows(self, storage: Storage, names: list[str]) -> Iterator[Rows]:
        """Stream some of the columns."""
        for file in self.files:
            first = 0
            with table_errors(file.uri):
                for values in _values(Lines(storage, file.uri), names):
                    count = len(next(iter(values.values())))
                    columns = {name: self._column(values, name, file, first) for name in names}
                    yield Rows(file, first, count, columns)
                    first += count

    def _column(
        self, values: Mapping[str, Sequence[Any]], name: str, file: StoredObject, first: int
    ) -> pa.Array:
        kind = self.columns.field(name).type
        if name not in values:
            return pa.nulls(len(next(iter(values.values()))), kind)
        return json_lines.to_array(list(values[name]), kind, name, file.uri, first)


def open_lists(storage: Storage, files: tuple[StoredObject, ...]) -> ListTable:
    """Find the columns of some lists.

    Raises:
        SpecError: one is empty or damaged, or a column has no type for all of its values.
    """
    merged = merge_columns((file.uri, _columns(storage, file.uri)) for file in files)
    columns = pa.schema([column.with_type(without_nulls(column.type)) for column in merged])
    return ListTable(files, with_text(columns, "uri"))


def _columns(storage: Storage, uri: str) -> pa.Schema:
    lines = Lines(storage, uri)
    with table_errors(uri):
        match list_ending(uri):
            case ".csv" | ".tsv" as ending:
                names = read_header(lines, _DELIMITERS[ending])
                return pa.schema([(name, pa.string()) for name in names])
            case ".txt":
                return pa.schema([("uri", pa.string())])
            case _:
                return json_lines.read_columns(lines)


def _values(lines: Lines, names: list[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
    match list_ending(lines.uri):
        case ".csv" | ".tsv" as ending:
            return read_delimited(lines, _DELIMITERS[ending])
        case ".txt":
            return read_uris(lines)
        case _:
            return json_lines.read_objects(lines, names)
