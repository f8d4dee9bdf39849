"""The commit: finished chunks become the dataset, once the accounts balance.

Which chunks go into which file depends on the manifest and the chunks alone, so a commit that was
killed can be run again to the same end.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import JobError
from jobs.layout import Layout
from jobs.manifest import Manifest
from jobs.schema import ERROR_COLUMNS
from jobs.storage import Storage

# Of chunks, as they are stored; what a part holds of one outcome is at most that.
_PART_BYTES = 128 * 1024 * 1024
_ROW_GROUP_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive chunks that go into the files of one number; `chunks` are ids and row counts."""

    layout: Layout
    number: int
    chunks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows a dataset has, and its errors by kind."""

    ok: int
    errors: dict[str, int]

    @property
    def error(self) -> int:
        """Return how many objects could not be labelled."""
        return sum(self.errors.values())


def finished_chunks(storage: Storage, layout: Layout) -> dict[str, int]:
    """Return id → bytes of the chunks that have their rows."""
    return {
        item.uri.rpartition("/")[2].removesuffix(".parquet"): item.size
        for item in storage.list(layout.chunks)
    }


def plan_parts(storage: Storage, layout: Layout) -> list[Part]:
    """Group the chunks of the manifest into well-sized parts.

    Raises:
        JobError: a chunk has no rows.
    """
    finished = finished_chunks(storage, layout)
    parts: list[Part] = []
    chunks: list[tuple[str, int]] = []
    size = 0
    for chunk_id, rows in Manifest(storage, layout.manifest).chunk_sizes():
        if chunk_id not in finished:
            raise JobError(
                f"chunk {chunk_id} of {layout.root} has no rows; run the same command again"
            )
        chunks.append((chunk_id, rows))
        size += finished[chunk_id]
        if size >= _PART_BYTES:
            parts.append(Part(layout, len(parts), tuple(chunks)))
            chunks, size = [], 0
    if chunks:
        parts.append(Part(layout, len(parts), tuple(chunks)))
    return parts


def merge_part(part: Part) -> Counts:
    """Write the files of one part and count their rows.

    Raises:
        JobError: a chunk does not have a row for each of its objects.
    """
    storage = Storage()
    ok, errors = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        files = {outcome: _PartFile(Path(folder) / outcome) for outcome in ("ok", "error")}
        for table in _read_chunks(storage, part):
            failed = pc.is_valid(table.column("error_kind"))
            files["ok"].add(table.filter(pc.invert(failed)).drop_columns(list(ERROR_COLUMNS)))
            files["error"].add(table.filter(failed))
            errors.update(table.column("error_kind").drop_null().to_pylist())
            ok += table.num_rows - pc.sum(failed).as_py()
        for outcome, file in files.items():
            uri = part.layout.part(outcome, part.number)
            if file.close():
                storage.upload(uri, file.path)
            else:
                storage.delete([uri])  # of a commit that did not end, when there were such rows
    return Counts(ok, dict(errors))


def delete_stale_files(storage: Storage, layout: Layout, part_count: int) -> None:
    """Delete parts that a commit that did not end has written beyond this one's."""
    for outcome in ("ok", "error"):
        current = {layout.part(outcome, number) for number in range(part_count)}
        written = list(storage.list(layout.outcome(outcome)))
        storage.delete(item.uri for item in written if item.uri not in current)


def add_up(counts: list[Counts]) -> Counts:
    """Add the counts of all parts."""
    errors = Counter[str]()
    for part in counts:
        errors.update(part.errors)
    return Counts(sum(part.ok for part in counts), dict(errors.most_common()))


def _read_chunks(storage: Storage, part: Part) -> Iterator[pa.Table]:
    for chunk_id, rows in part.chunks:
        table = pq.read_table(io.BytesIO(storage.read(part.layout.chunk(chunk_id)).data))
        if table.num_rows != rows:
            raise JobError(
                f"chunk {chunk_id} of {part.layout.root} has {table.num_rows} rows for {rows} "
                "objects; delete it and run the same command again"
            )
        yield table


class _PartFile:
    """A Parquet file that grows table by table, in row groups of a useful size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        if table.num_rows:
            self._pending.append(table)
        if sum(pending.nbytes for pending in self._pending) >= _ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> bool:
        """Finish the file; say whether there is one, since no rows make no file."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
        return self._writer is not None

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        self._pending = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=table.num_rows)
