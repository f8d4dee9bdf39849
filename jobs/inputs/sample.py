"""A few rows of a listing of any length, spread evenly over it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Cells of a Parquet file are drawn in runs: each costs reading its whole row group.
_CELL_RUN = 32
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a listing, and the totals of the part that was read.

    Attributes:
        rows: in the order of the listing.
        objects: that were listed so far.
        bytes: of those whose size is listed.
        sized: how many those are.
    """

    rows: pa.Table
    objects: int
    bytes: int
    sized: int


def draw_sample(tables: Iterator[pa.Table], size: int) -> Iterator[Sample]:
    """Yield, after each table of a listing, a sample of up to `size` of the rows so far.

    Row i has the priority i times the golden ratio, modulo 1; the lowest are spread evenly over any
    stretch from the first row on, and no listing has a period like that.
    """
    kept: pa.Table | None = None
    priorities = np.empty(0, np.uint64)
    objects = listed_bytes = sized = 0
    for table in tables:
        run = 1 if table.column("row").null_count else _CELL_RUN
        new = np.arange(objects, objects + table.num_rows) // run
        priorities = np.concatenate([priorities, new.astype(np.uint64) * _GOLDEN])  # wraps
        kept = pa.concat_tables([kept, table]) if kept is not None else table
        best = np.sort(np.argsort(priorities, kind="stable")[:size])
        kept, priorities = kept.take(pa.array(best)), priorities[best]
        objects += table.num_rows
        listed_bytes += pc.sum(table.column("size")).as_py() or 0
        sized += table.num_rows - table.column("size").null_count
        yield Sample(kept, objects, listed_bytes, sized)
