"""The encoded bytes of rows to label: whole objects, ranges of tar shards, cells of Parquet files.

Threads fetch ahead of the consumer, which gets the rows in order; few images are held at a time.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from jobs.errors import FetchError
from jobs.inputs import OBJECT_SCHEMA
from jobs.inputs.ahead import run_ahead
from jobs.inputs.cells import CellReader
from jobs.inputs.tar import Place, read_member
from jobs.storage import Fetched, Storage
from jobs.storage.objects import archived
from model_repo.inception_v3.decoding.formats import is_image

Outcome = tuple[int, Fetched | FetchError]

FETCH_THREADS = 16  # of one chunk

_CELLS_PER_TASK = 8
_FIRST_BYTES = 1024
_Task = tuple[int, Callable[[], list[Outcome]]]  # how many images, and what fetches them


def fetch_images(
    storage: Storage,
    objects: pa.Table,
    *,
    threads: int = FETCH_THREADS,
    image_column: str | None = None,
) -> Iterator[Outcome]:
    """Yield each row's index, and its bytes or why there are none, in order.

    Columns that `OBJECT_SCHEMA` lacks are ignored. At most twice as many images as `threads` are
    held. Without an `image_column`, cells come from the only binary one.

    Raises:
        StorageError: the storage itself fails; that is no row's fault.
    """
    tasks = _tasks(storage, objects, min(threads, _CELLS_PER_TASK), image_column)
    for outcomes in run_ahead(tasks, threads=threads, ahead=2 * threads, name="fetch"):
        yield from outcomes


def _tasks(
    storage: Storage, objects: pa.Table, cells_per_task: int, image_column: str | None
) -> Iterator[_Task]:
    """Cut the table into tasks: one per object, some per run of rows of one Parquet file."""
    rows = enumerate(objects.select(OBJECT_SCHEMA.names).to_pylist())
    for (location, is_cell), group in groupby(
        rows, key=lambda numbered: (numbered[1]["location"], numbered[1]["row"] is not None)
    ):
        run = list(group)
        if not is_cell:
            yield from ((1, partial(_fetch_object, storage, index, row)) for index, row in run)
            continue
        numbers = [row["row"] for _, row in run]
        cells = CellReader(storage, location, numbers, run[0][1]["etag"], image_column)
        for start in range(0, len(run), cells_per_task):
            part = [index for index, _ in run[start : start + cells_per_task]]
            yield len(part), partial(_fetch_cells, cells, start, part)


def _fetch_object(storage: Storage, index: int, row: dict[str, Any]) -> list[Outcome]:
    location, size, etag = row["location"], row["size"], row["etag"]
    if location is None:
        return [(index, archived(row["uri"]))]
    try:
        if row["offset"] is None:
            return [(index, _fetch_whole(storage, location, size, etag))]
        return [(index, read_member(storage, location, Place(row["offset"], size), etag))]
    except FetchError as exc:
        return [(index, exc)]


def _fetch_whole(storage: Storage, uri: str, size: int | None, etag: str | None) -> Fetched:
    """Read an object; of one that is too large, the beginning, if that is no image's."""
    try:
        return storage.read(uri, expected_size=size, expected_etag=etag)
    except FetchError as exc:
        if exc.kind != "too_large":
            raise
        start = storage.read(uri, offset=0, expected_size=_FIRST_BYTES)
        if is_image(start.data):
            raise
        return start


def _fetch_cells(cells: CellReader, start: int, indices: list[int]) -> list[Outcome]:
    return list(zip(indices, cells.read(start, len(indices)), strict=True))
