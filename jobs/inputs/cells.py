"""Images in the cells of one Parquet file: opened once, only the row groups asked for are read."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from jobs.errors import FetchError, SpecError
from jobs.inputs import find_image_column, image_leaf
from jobs.storage import Fetched, Storage, StoredFile, check_size

Cell = Fetched | FetchError

_CELLS_PER_BATCH = 8
_BUFFER_BYTES = 4 << 20
_DAMAGED = (pa.ArrowException, OSError, ValueError)


class CellReader:
    """Reads the cells of some rows of a file, in order; threads may ask for later ones early.

    Args:
        storage: where the file lies.
        uri: the file.
        rows: the row numbers.
        etag: the version that was listed, if known; another one is refused.
        image_column: the column with the images; None takes the only binary one.
    """

    def __init__(
        self,
        storage: Storage,
        uri: str,
        rows: Sequence[int],
        etag: str | None,
        image_column: str | None,
    ) -> None:
        self._storage = storage
        self._uri = uri
        self._rows = rows
        self._etag = etag
        self._image_column = image_column
        self._cells = self._all_cells()
        self._given = 0
        self._turn = threading.Condition()

    def read(self, start: int, count: int) -> list[Cell]:
        """Return `count` cells from the `start`-th on, once those before have been returned.

        Raises:
            StorageError: the storage itself fails; no cell is to blame.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._given == start)
            try:
                return list(islice(self._cells, count))
            finally:
                self._given += count
                self._turn.notify_all()

    def _all_cells(self) -> Iterator[Cell]:
        """Give a cell or an error for every row, unless the storage itself fails."""
        given = 0
        try:
            with self._open() as opened:
                file = _parquet(opened)
                column = find_image_column(file.schema_arrow, self._image_column, self._uri)
                leaf = image_leaf(file.schema_arrow, column)
                for cell in self._cells_of(file, leaf, self._etag or opened.etag):
                    yield cell
                    given += 1
        except (FetchError, SpecError, *_DAMAGED) as exc:
            problem = self._problem(exc)
        for _ in self._rows[given:]:
            yield problem

    def _cells_of(self, file: Any, leaf: str, etag: str) -> Iterator[Cell]:
        sizes = (file.metadata.row_group(at).num_rows for at in range(file.num_row_groups))
        starts = list(accumulate(sizes, initial=0))
        for group, rows in _stretches(self._rows, starts):
            if group >= file.num_row_groups:
                yield from (
                    FetchError("not_found", f"{self._uri} has no row {row}") for row in rows
                )
                continue
            given = 0
            try:
                numbers = [row - starts[group] for row in rows]
                for row, data in self._read_group(file, leaf, group, numbers):
                    yield self._cell(row + starts[group], data, etag)
                    given += 1
            except (FetchError, *_DAMAGED) as exc:  # the other row groups may be whole
                yield from (self._problem(exc) for _ in rows[given:])

    def _read_group(
        self, file: Any, leaf: str, group: int, rows: list[int]
    ) -> Iterator[tuple[int, bytes | None]]:
        """Read rows of a row group; once more if it seems damaged, which it may be on its way."""
        given = 0
        try:
            for cell in _group_cells(file, leaf, group, rows):
                yield cell
                given += 1
        except _DAMAGED:
            with self._open() as opened:
                yield from _group_cells(_parquet(opened), leaf, group, rows[given:])

    def _open(self) -> StoredFile:
        return self._storage.open(self._uri, buffer_bytes=_BUFFER_BYTES, expected_etag=self._etag)

    def _cell(self, row: int, data: bytes | None, etag: str) -> Cell:
        if data is None:
            return FetchError("not_found", f"row {row} of {self._uri} holds no image")
        try:
            check_size(f"row {row} of {self._uri}", len(data))
        except FetchError as exc:
            return exc
        return Fetched(data, etag)

    def _problem(self, exc: Exception) -> FetchError:
        if isinstance(exc, FetchError):
            return exc
        return FetchError("storage", f"cannot read {self._uri}: {exc}")


def _parquet(opened: StoredFile) -> Any:
    return pa.parquet.ParquetFile(
        opened, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
    )


def _stretches(rows: Sequence[int], starts: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Cut rows where the row group changes, or where they do not rise."""
    stretch: list[int] = []
    group = -1
    for row in rows:
        group_of_row = bisect_right(starts, row) - 1
        if stretch and (group_of_row != group or row <= stretch[-1]):
            yield group, stretch
            stretch = []
        group = group_of_row
        stretch.append(row)
    if stretch:
        yield group, stretch


def _group_cells(
    file: Any, leaf: str, group: int, rows: list[int]
) -> Iterator[tuple[int, bytes | None]]:
    """Read rising rows of one row group, numbered from its start."""
    wanted = deque(rows)
    start = 0
    for batch in file.iter_batches(
        _CELLS_PER_BATCH, row_groups=[group], columns=[leaf], use_threads=False
    ):
        cells = batch.column(0)
        if pa.types.is_struct(cells.type):
            cells = pa.compute.struct_field(cells, "bytes")
        while wanted and wanted[0] < start + batch.num_rows:
            row = wanted.popleft()
            yield row, cells[row - start].as_py()
        if not wanted:
            return
        start += batch.num_rows
