"""Chunks: the unit that is labelled, written and retried.

Where they are cut and what they are called depends on the listing alone: the same objects in the
same order give the same ids, so labelling a chunk twice writes the same file.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from jobs.job.job import SMALLEST_CHUNK

# The first chunks are small, for early rows and to keep every actor busy in a small job; later ones
# are large, for few files. All are multiples of common batch sizes.
_LARGEST = 512
_CHUNKS_PER_SIZE = 32
# What a chunk's arrays may take in a worker, and its rows of the listing on their way there.
_CHUNK_BYTES = 128 * 1024 * 1024
_LISTING_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive objects of the listing; `objects` has the columns of a source."""

    id: str
    objects: pa.Table


def cut_chunks(tables: Iterable[pa.Table], *, row_bytes: int = 0, job: str = "") -> Iterator[Chunk]:
    """Cut a listing into chunks.

    Args:
        tables: the listing, in order.
        row_bytes: of one row's arrays (embedding, features); bounds a chunk's memory.
        job: whatever else decides the rows; another job gives the same objects other ids.
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


def _chunk_size(index: int, row_bytes: int, pending: list[pa.Table]) -> int:
    listed_bytes = int(sum(x.nbytes for x in pending) / sum(x.num_rows for x in pending))
    return max(
        1,
        min(
            SMALLEST_CHUNK << min(index // _CHUNKS_PER_SIZE, 10),
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
