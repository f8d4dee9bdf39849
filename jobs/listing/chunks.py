"""Chunks: the unit that is labelled, written and retried.

How objects are cut, and what a chunk is called, depends on nothing but the listing: the same
objects in the same order give the same ids, so whoever labels a chunk twice writes the same file.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

# The first chunks are small, so that rows come soon and a small job keeps every actor busy; later
# ones are large, so that there are few files. All are multiples of common batch sizes.
_SMALLEST, _LARGEST = 32, 512
_CHUNKS_PER_SIZE = 32
# What a chunk's arrays may take in a worker, and its rows of the listing on their way there.
_CHUNK_BYTES = 128 * 1024 * 1024
_LISTING_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive objects of the listing; `objects` has the columns of a source."""

    id: str
    objects: pa.Table


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of one chunk.

    Attributes:
        objects: of the chunk.
        errors: how many of them could not be labelled.
        faults: for how many of those the image itself is to blame.
        seconds: that workers took for it.
        total: objects in the whole listing, once that is known.
        model_s, write_s: of the seconds, for predicting and for writing; in the others images were
            fetched and decoded.
        cpu_s: of all processes that worked on it.
        ahead_s: that it lay decoded before it was labelled.
    """

    objects: int
    errors: int
    faults: int
    seconds: float
    total: int | None
    model_s: float = 0.0
    write_s: float = 0.0
    cpu_s: float = 0.0
    ahead_s: float = 0.0


def cut_chunks(tables: Iterable[pa.Table], *, row_bytes: int = 0, job: str = "") -> Iterator[Chunk]:
    """Cut a listing into chunks.

    Args:
        tables: the listing, in order.
        row_bytes: of one row's arrays (embedding, features); bounds a chunk's memory.
        job: whatever else decides the rows; the same objects have other ids in another job.
    """
    index, pending, count = 0, [], 0
    for table in tables:
        pending.append(table)
        count += table.num_rows
        while count and count >= (size := _chunk_size(index, row_bytes, pending)):
            joined = pa.concat_tables(pending)
            yield _name(job, index, joined.slice(0, size))
            pending, count, index = [joined.slice(size)], count - size, index + 1
    if count:
        yield _name(job, index, pa.concat_tables(pending))


def count_chunks(rows: int) -> int:
    """Return into how many chunks so many rows are cut at most."""
    return -(-rows // _SMALLEST)


def pack_table(table: pa.Table) -> bytes:
    """Serialise a table for a cell of the dataset."""
    sink = pa.BufferOutputStream()
    # Compressed, since the driver holds the small blocks that wait for a worker.
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def unpack_table(packed: bytes) -> pa.Table:
    """Undo `pack_table`."""
    with pa.ipc.open_stream(packed) as reader:
        return reader.read_all()


def _chunk_size(index: int, row_bytes: int, pending: list[pa.Table]) -> int:
    listed_bytes = int(sum(x.nbytes for x in pending) / sum(x.num_rows for x in pending))
    return max(
        1,
        min(
            _SMALLEST << min(index // _CHUNKS_PER_SIZE, 10),
            _LARGEST,
            _CHUNK_BYTES // max(row_bytes, 1),
            _LISTING_BYTES // max(listed_bytes, 1),
        ),
    )


def _name(job: str, index: int, objects: pa.Table) -> Chunk:
    """Name a chunk by its place and by what is in it."""
    content = json.dumps([job, objects.to_pydict()], default=repr).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Chunk(f"{index:08d}-{digest}", objects.combine_chunks())
