"""Lists of JSON objects, one a line. They are read twice: for the types, then for the values."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from jobs.errors import SpecError
from jobs.inputs.tables.json_types import MAX_MEMBERS, Values, Wide, as_text, parse_integer
from jobs.inputs.tables.lines import Lines
from jobs.inputs.tables.table import misfit

_decode = json.JSONDecoder(parse_int=parse_integer).decode
_NOT_TYPED = frozenset({list, dict, Wide})  # their type does not tell which column they need
_MOST_FORMS = 1000
_UNFIT = (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError)


def read_columns(lines: Lines) -> pa.Schema:
    """Find the columns, which may come late, and types that all of their values have in common.

    Raises:
        SpecError: a line is no JSON object, or there are too many columns.
    """
    seen = Values()
    forms = set[tuple[Any, ...]]()  # names and types of whole rows
    for number, row in _rows(lines):
        types = tuple(map(type, row.values()))
        form = (*row, *types)
        if form in forms:
            continue
        seen.add_members(row)
        if len(seen.members) > MAX_MEMBERS:
            raise SpecError(
                f"row {number} of {lines.uri} brings more than {MAX_MEMBERS:,} different keys; "
                "put them into an object of one key"
            )
        if len(forms) < _MOST_FORMS and _NOT_TYPED.isdisjoint(types):
            forms.add(form)
    if not seen.members:
        raise SpecError(f"{lines.uri} is empty; each line has to be a JSON object with a key 'uri'")
    return pa.schema([(name, values.to_arrow()) for name, values in seen.members.items()])


def read_objects(lines: Lines, names: list[str]) -> Iterator[dict[str, list[Any]]]:
    """Read the values of some columns; null where a row lacks one."""
    for group in lines.groups(row for _, row in _rows(lines)):
        yield {name: [row.get(name) for row in group] for name in names}


def to_array(values: list[Any], kind: pa.DataType, name: str, uri: str, first: int) -> pa.Array:
    """Build a column; `name`, `uri` and `first` say where its values are.

    Raises:
        SpecError: a value has another type.
    """
    try:
        return pa.array(values, kind)
    except _UNFIT:
        values = [as_text(value, kind) for value in values]
    try:
        return pa.array(values, kind)
    except _UNFIT:
        for row, value in enumerate(values, first):
            try:
                pa.array([value], kind)
            except _UNFIT as exc:
                raise misfit(name, uri, row, exc) from exc
        raise


def _rows(lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        try:
            row = _decode(line)
        except json.JSONDecodeError as exc:
            where = f"row {number} of {lines.uri} is no JSON"
            raise SpecError(f"{where}: {exc.msg.lower()} at character {exc.colno}") from exc
        except (ValueError, RecursionError) as exc:  # an endless number, or lists in lists
            raise SpecError(f"row {number} of {lines.uri} cannot be read: {exc}") from exc
        if not isinstance(row, dict):
            raise SpecError(
                f"row {number} of {lines.uri} is no JSON object; each line has to be one, with a "
                "key 'uri'"
            )
        yield number, row
