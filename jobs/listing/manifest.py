"""What was listed, kept with the output: one row per object, one row group per chunk.

Each generation has its own manifest. Parts are written during the listing, `complete.json` at its
end. A rerun reads a complete manifest; if it is incomplete, the input is listed again, and chunks
that come out the same keep their rows.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.dataset.layout import EARLIER, Layout
from jobs.errors import FetchError, JobError
from jobs.listing.chunks import Chunk
from jobs.storage import Storage

_PART_ROWS = 65_536
_ROWS_AT_ONCE = 8192
_PART_BYTES = 32 * 1024 * 1024
_CHUNK_IDS = b"labelmill.chunks"


@dataclass(frozen=True, slots=True)
class Totals:
    """What a complete listing adds up to.

    Attributes:
        duplicates: how many were listed before, and left out.
        passed_over: what else was left out: pattern or suffix → how many.
    """

    objects: int
    chunks: int
    parts: int
    bytes: int
    duplicates: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)


class Manifest:
    """The manifest under one folder."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._complete = f"{folder}/complete.json"

    def totals(self) -> Totals | None:
        """Return the totals if the listing was completed, else None."""
        if self._storage.head(self._complete) is None:
            return None
        return Totals(**json.loads(self._storage.read(self._complete).data))

    def record(
        self, chunks: Iterable[Chunk], left_out: Callable[[], tuple[int, Mapping[str, int]]]
    ) -> Iterator[Chunk]:
        """Pass on all chunks of a listing, writing them down; ask at its end what was left out.

        Raises:
            StorageError: the manifest could not be written.
        """
        pending: list[Chunk] = []
        rows = held = parts = objects = count = size = 0
        for chunk in chunks:
            pending.append(chunk)
            rows += chunk.objects.num_rows
            held += chunk.objects.nbytes
            objects += chunk.objects.num_rows
            count += 1
            size += pc.sum(chunk.objects.column("size")).as_py() or 0
            yield chunk
            if rows >= _PART_ROWS or held >= _PART_BYTES:
                self._write_part(parts, pending)
                pending, rows, held, parts = [], 0, 0, parts + 1
        if pending:
            self._write_part(parts, pending)
            parts += 1
        current = {self._part(number) for number in range(parts)}
        stale = [x.uri for x in self._storage.list(self._folder) if x.uri not in current]
        self._storage.delete(stale)  # of a longer listing that did not end
        duplicates, passed_over = left_out()
        totals = Totals(objects, count, parts, size, duplicates, dict(passed_over))
        self._storage.write(self._complete, json.dumps(asdict(totals)).encode())

    def chunks(self, *, without: frozenset[str] = frozenset()) -> Iterator[Chunk]:
        """Read the chunks of a complete manifest, in order, except those of the ids `without`."""
        for part in self._parts():
            for group, chunk_id in enumerate(_chunk_ids(part)):
                if chunk_id not in without:
                    yield Chunk(chunk_id, part.read_row_group(group))

    def chunk_sizes(self) -> Iterator[tuple[str, int]]:
        """Return id and number of objects of each chunk, in order."""
        for part in self._parts():
            for group, chunk_id in enumerate(_chunk_ids(part)):
                yield chunk_id, part.metadata.row_group(group).num_rows

    def _part(self, number: int, suffix: str = ".manifest") -> str:
        return f"{self._folder}/part-{number:05d}{suffix}"

    def _parts(self) -> Iterator[pq.ParquetFile]:
        totals = self.totals()
        if totals is None:
            raise JobError(f"{self._complete} is missing; run the same command again")
        for number in range(totals.parts):
            file = io.BytesIO(self._read_part(number))
            yield pq.ParquetFile(file, page_checksum_verification=True)

    def _read_part(self, number: int) -> bytes:
        """Read a part whole, since only whole objects are compared with their checksum."""
        try:
            return self._storage.read(self._part(number)).data
        except FetchError as exc:
            if exc.kind != "not_found":
                raise
            return self._storage.read(self._part(number, EARLIER)).data

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Stream some columns of all rows of a complete manifest."""
        for part in self._parts():
            for batch in part.iter_batches(_ROWS_AT_ONCE, columns=list(names), use_threads=False):
                yield pa.Table.from_batches([batch])  # pa.table would import pandas for it

    def _write_part(self, number: int, chunks: list[Chunk]) -> None:
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, chunks[0].objects.schema, write_page_checksum=True) as writer:
            for chunk in chunks:
                writer.write_table(chunk.objects, row_group_size=chunk.objects.num_rows)
            ids = json.dumps([chunk.id for chunk in chunks])
            writer.add_key_value_metadata({_CHUNK_IDS.decode(): ids})
        self._storage.write(self._part(number), buffer.getvalue())


def read_manifests(storage: Storage, layout: Layout, names: Sequence[str]) -> Iterator[pa.Table]:
    """Stream some columns of the manifests of all generations, the first one first."""
    for generation in range(layout.generation + 1):
        yield from Manifest(storage, replace(layout, generation=generation).manifest).tables(names)


def _chunk_ids(part: pq.ParquetFile) -> list[str]:
    ids: list[str] = json.loads(part.metadata.metadata[_CHUNK_IDS])
    return ids
