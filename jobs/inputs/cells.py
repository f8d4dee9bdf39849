"""Images in the cells of one Parquet file: opened once, and only the row groups needed are read."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from jobs.errors import FetchError, SpecError
from jobs.inputs.parquet_images import find_image_column, image_leaf
from jobs.storage import Fetched, Storage
from jobs.storage.objects import check_size

Cell = Fetched | FetchError

_CELLS_PER_BATCH = 8
_BUFFER_BYTES = 4 << 20
_DAMAGED = (pa.ArrowException, OSError, ValueError)


class _Opened(NamedTuple):
    parquet: Any
    leaf: str
    etag: str


@dataclass(eq=False)
class CellReader:
    """Reads the cells of some rows of a file, in order; threads may ask for later ones early.

    Attributes:
        storage, uri: where the file is.
        rows: the row numbers.
        etag: the version that was listed, if known; another one is refused.
        image_column: the column with the images; None takes the only binary one.
    """

    storage: Storage
    uri: str
    rows: Sequence[int]
    etag: str | None
    image_column: str | None

    def __post_init__(self) -> None:
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
        try:
            opened = self._open()
        except (FetchError, SpecError, *_DAMAGED) as exc:
            yield from repeat(self._problem(exc), len(self.rows))
            return
        metadata = opened.parquet.metadata
        sizes = (metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
        starts = list(accumulate(sizes, initial=0))
        for group, rows in _stretches(self.rows, starts):
            if group == metadata.num_row_groups:
                yield from (FetchError("not_found", f"{self.uri} has no row {x}") for x in rows)
            else:
                yield from self._group_cells(opened, group, starts[group], rows)

    def _group_cells(
        self, opened: _Opened, group: int, start: int, rows: deque[int]
    ) -> Iterator[Cell]:
        """Read a row group; once more if it seems damaged, which may have happened on the way."""
        try:
            try:
                yield from self._read_rows(opened, group, start, rows)
            except _DAMAGED:
                yield from self._read_rows(self._open(), group, start, rows)
        except (FetchError, SpecError, *_DAMAGED) as exc:  # the other row groups may be whole
            yield from repeat(self._problem(exc), len(rows))

    def _read_rows(
        self, opened: _Opened, group: int, start: int, rows: deque[int]
    ) -> Iterator[Cell]:
        """Read rising rows of a row group that begins at `start`, removing them from `rows`."""
        for batch in opened.parquet.iter_batches(
            _CELLS_PER_BATCH, row_groups=[group], columns=[opened.leaf], use_threads=False
        ):
            cells = batch.column(0)
            if pa.types.is_struct(cells.type):
                cells = pa.compute.struct_field(cells, "bytes")
            while rows and rows[0] < start + batch.num_rows:
                yield self._cell(rows[0], cells[rows[0] - start].as_py(), opened.etag)
                rows.popleft()
            if not rows:
                return
            start += batch.num_rows

    def _open(self) -> _Opened:
        file = self.storage.open(self.uri, buffer_bytes=_BUFFER_BYTES, expected_etag=self.etag)
        parquet = pa.parquet.ParquetFile(
            file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )
        column = find_image_column(parquet.schema_arrow, self.image_column, self.uri)
        leaf = image_leaf(parquet.schema_arrow, column)
        return _Opened(parquet, leaf, self.etag or file.etag)

    def _cell(self, row: int, data: bytes | None, etag: str) -> Cell:
        name = f"row {row} of {self.uri}"
        if data is None:
            return FetchError("not_found", f"{name} holds no image")
        try:
            check_size(name, len(data))
        except FetchError as exc:
            return exc
        return Fetched(data, etag)

    def _problem(self, exc: Exception) -> FetchError:
        if isinstance(exc, FetchError):
            return exc
        return FetchError("storage", f"cannot read {self.uri}: {exc}")


def _stretches(rows: Sequence[int], starts: list[int]) -> Iterator[tuple[int, deque[int]]]:
    """Cut rows where the row group changes, or where they do not rise."""
    stretch = deque[int]()
    group = -1
    for row in rows:
        group_of_row = bisect_right(starts, row) - 1
        if stretch and (group_of_row != group or row <= stretch[-1]):
            yield group, stretch
            stretch = deque()
        group = group_of_row
        stretch.append(row)
    if stretch:
        yield group, stretch
