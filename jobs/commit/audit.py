"""The accounts of a predictions dataset: what was listed against the rows that are there.

They are made from what lies in the output, never from what somebody counted on the way.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from posixpath import basename
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc

from jobs.dataset.layout import Layout
from jobs.dataset.parquet import data_files, read_groups
from jobs.dataset.schema import NOT_AN_IMAGE
from jobs.digests import Digests, digest, digest_uris, find, join
from jobs.errors import JobError
from jobs.listing.manifest import read_manifests
from jobs.storage import Storage
from jobs.tallies import add, count, shorten, suffix_of

T = TypeVar("T")
R = TypeVar("R")

# Calls a function on each item, here or anywhere in a cluster; results keep their order.
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects were listed and how many rows there are.

    Attributes:
        errors: kind → how many.
        not_images: suffix → how many of the errors are of the kind `not_an_image`.
    """

    listed: int
    ok: int
    errors: dict[str, int]
    not_images: dict[str, int] = field(default_factory=dict)

    @property
    def error(self) -> int:
        """Return how many objects could not be labelled."""
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True)
class Account:
    """What some files hold: digests of the uris; the errors by kind; what is no image by suffix."""

    uris: Digests
    errors: Counter[str]
    not_images: Counter[str]


def run_here(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call `function` on each item: a `Mapper` without a cluster."""
    return list(map(function, items))


def balance(layout: Layout, storage: Storage, run_parallel: Mapper) -> Counts:
    """Count what the dataset holds, making sure that each listed uri has exactly one row.

    Raises:
        JobError: a uri has no row, more than one, or one that nobody asked for; it names some.
    """
    files = sorted(data_files(layout, storage), key=basename)
    parts = run_parallel(read_account, [tuple(pair) for _, pair in groupby(files, basename)])
    errors, not_images = Counter[str](), Counter[str]()
    for part in parts:
        errors.update(part.errors)
        add(not_images, part.not_images)
    rows = join(part.uris for part in parts)
    parts.clear()
    rows.sort()
    listed = np.unique(join(digest(uris) for uris in listed_uris(layout, storage)))
    if not np.array_equal(rows, listed):
        _check("have more than one row", rows[1:][rows[1:] == rows[:-1]], layout, storage)
        _check("were listed and have no row", listed[~find(listed, rows)[1]], layout, storage)
        _check("have a row and were not listed", rows[~find(rows, listed)[1]], layout, storage)
    ok = len(rows) - errors.total()
    return Counts(len(listed), ok, dict(errors.most_common()), shorten(not_images))


def read_account(files: tuple[str, ...]) -> Account:
    """Read what some files of the dataset hold."""
    uris: list[Digests] = []
    errors, not_images = Counter[str](), Counter[str]()
    for table in chain.from_iterable(
        read_groups(Storage(), file, ("uri", "error_kind")) for file in files
    ):
        uris.append(digest_uris(table))
        if "error_kind" in table.column_names:
            errors.update(table.column("error_kind").to_pylist())
            is_none = pc.equal(table.column("error_kind"), NOT_AN_IMAGE)
            for uri in table.filter(is_none).column("uri").to_pylist():
                count(not_images, suffix_of(uri))
    return Account(join(uris), errors, not_images)


def listed_uris(layout: Layout, storage: Storage) -> Iterator[list[str]]:
    """Stream what any generation listed; what was listed twice comes twice."""
    for table in read_manifests(storage, layout, ("uri",)):
        yield table.column("uri").to_pylist()


def _check(what: str, wrong: Digests, layout: Layout, storage: Storage) -> None:
    if not len(wrong):
        return
    examples = islice(_find_uris(np.unique(wrong), layout, storage), _EXAMPLES)
    raise JobError(
        f"the accounts of {layout.root} do not balance: {len(wrong):,} uris {what}, among them "
        f"{', '.join(examples)}; run the same command again, or start over with --overwrite"
    )


def _find_uris(wanted: Digests, layout: Layout, storage: Storage) -> Iterator[str]:
    in_rows = (
        table.column("uri").to_pylist()
        for file in data_files(layout, storage)
        for table in read_groups(storage, file, ("uri",))
    )
    found: set[str] = set()
    for uris in chain(in_rows, listed_uris(layout, storage)):
        for uri, is_wanted in zip(uris, find(digest(uris), wanted)[1], strict=True):
            if is_wanted and uri not in found:
                found.add(uri)
                yield uri
