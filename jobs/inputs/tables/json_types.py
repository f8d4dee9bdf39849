"""What types the columns of JSON objects have, once all of them have been seen."""

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

MAX_MEMBERS = 1000  # different keys of an object; one with more is carried as text
_DEEPEST = 32  # levels of lists and objects; what lies deeper is carried as text
_EXACT = 2**53  # up to here every integer is a double
_INT64, _UINT64 = 2**63 - 1, 2**64 - 1
_NUMBERS = {"integer", "negative", "long", "unsigned", "huge", "float"}


class Wide(int):
    """An integer that does not fit every type of number."""


def parse_integer(text: str) -> int:
    """Read an integer; mark what is negative or large."""
    value = int(text)
    return value if 0 <= value <= _EXACT else Wide(value)


@dataclass(slots=True)
class Values:
    """What was seen of the values of one column, member or list.

    Attributes:
        kinds: of values, nulls apart.
        items: of all lists.
        members: of all objects.
    """

    kinds: set[str] = field(default_factory=set)
    items: "Values | None" = None
    members: dict[str, "Values"] = field(default_factory=dict)

    def add(self, value: Any, depth: int = 1) -> None:
        """Look at one more value."""
        match value:
            case None:
                return
            case Wide():
                self.kinds |= _kinds_of(value)
            case list() if depth < _DEEPEST:
                self.kinds.add("list")
                self.items = self.items or Values()
                for item in value:
                    self.items.add(item, depth + 1)
            case dict() if depth < _DEEPEST:
                self.kinds.add("object")
                self.add_members(value, depth + 1)
            case _:
                self.kinds.add(_KINDS.get(type(value), "text"))

    def add_members(self, members: dict[str, Any], depth: int = 1) -> None:
        """Look at the members of one more object."""
        for name, value in members.items():
            known = self.members.get(name)
            if known is None and len(self.members) <= MAX_MEMBERS:
                known = self.members[name] = Values()
            if known is not None:
                known.add(value, depth)

    def to_arrow(self) -> pa.DataType:
        """Return the type that keeps every value as it is: text if there is no other."""
        kinds = self.kinds
        if not kinds:
            return pa.null()
        if kinds <= _NUMBERS:
            return _number_type(kinds)
        if kinds == {"boolean"}:
            return pa.bool_()
        if kinds == {"list"} and self.items is not None:
            return pa.list_(self.items.to_arrow())
        if kinds == {"object"} and 0 < len(self.members) <= MAX_MEMBERS:
            return pa.struct([(name, x.to_arrow()) for name, x in self.members.items()])
        return pa.string()


def without_nulls(kind: pa.DataType) -> pa.DataType:
    """Make text of what was never anything but null."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(without_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([x.with_type(without_nulls(x.type)) for x in kind])
    return kind


def as_text(value: Any, kind: pa.DataType) -> Any:
    """Write what a type takes as text, but is none, as its JSON."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_list(kind) and isinstance(value, list):
        return [as_text(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {x.name: as_text(value.get(x.name), x.type) for x in kind}
    return value


_KINDS = {bool: "boolean", int: "integer", float: "float", str: "text"}


def _kinds_of(value: int) -> set[str]:
    if value < 0:
        size = "huge" if value < -_INT64 - 1 else "long" if value < -_EXACT else "integer"
        return {"negative", size}
    return {"huge" if value > _UINT64 else "unsigned" if value > _INT64 else "long"}


def _number_type(kinds: set[str]) -> pa.DataType:
    if "huge" in kinds or {"unsigned", "negative"} <= kinds:
        return pa.string()
    if "float" in kinds:
        return pa.string() if kinds & {"long", "unsigned"} else pa.float64()
    return pa.uint64() if "unsigned" in kinds else pa.int64()
