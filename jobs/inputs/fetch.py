"""The encoded bytes of rows to label: whole objects, ranges of tar shards, cells of Parquet files.

Threads fetch ahead of the consumer, which gets the rows in order; few images are held at a time.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby

import pyarrow as pa

from jobs.errors import FetchError
from jobs.inputs import OBJECT_SCHEMA
from jobs.inputs.ahead import run_ahead
from jobs.inputs.cells import CellReader
from jobs.storage import Fetched, Storage

Outcome = tuple[int, Fetched | FetchError]

FETCH_THREADS = 16  # of one chunk

_CELLS_PER_TASK = 8
_Row = dict[str, int | str | None]
_Task = tuple[int, Callable[[], list[Outcome]]]  # how many images, and what fetches them


def fetch_images(
    storage: Storage,
    objects: pa.Table,
    *,
    threads: int = FETCH_THREADS,
    image_column: str | None = None,
) -> Iterator[Outcome]:
    """Fetch each row's image, ahead of the consumer and in the order of the rows.

    Args:
        storage: where the rows' locations lie.
        objects: rows in `OBJECT_SCHEMA`; further columns are ignored.
        threads: how many requests at once; at most twice as many images are held.
        image_column: the Parquet column with the images; None takes the only binary one.

    Yields:
        The row's index, and its bytes or why there are none.

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
    rows = list(enumerate(objects.select(OBJECT_SCHEMA.names).to_pylist()))
    for (location, is_cell), group in groupby(rows, key=_place):
        run = list(group)
        if not is_cell:
            yield from ((1, partial(_fetch_object, storage, index, row)) for index, row in run)
            continue
        numbers = [row["row"] for _, row in run]
        cells = CellReader(storage, location, numbers, run[0][1]["etag"], image_column)
        for start in range(0, len(run), cells_per_task):
            part = [index for index, _ in run[start : start + cells_per_task]]
            yield len(part), partial(_fetch_cells, cells, start, part)


def _place(numbered: tuple[int, _Row]) -> tuple[str, bool]:
    row = numbered[1]
    return str(row["location"]), row["row"] is not None


def _fetch_object(storage: Storage, index: int, row: dict[str, object]) -> list[Outcome]:
    return [(index, _read(storage, row))]


def _read(storage: Storage, row: dict[str, object]) -> Fetched | FetchError:
    size, etag, offset = row["size"], row["etag"], row["offset"]
    try:
        return storage.read(
            str(row["location"]),
            expected_size=size if isinstance(size, int) else None,
            expected_etag=etag if isinstance(etag, str) else None,
            offset=offset if isinstance(offset, int) else None,
        )
    except FetchError as exc:
        return exc


def _fetch_cells(cells: CellReader, start: int, indices: list[int]) -> list[Outcome]:
    return list(zip(indices, cells.read(start, len(indices)), strict=True))
