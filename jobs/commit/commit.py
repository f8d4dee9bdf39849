"""The commit: finished chunks become the dataset, once the accounts balance.

Which chunks go into which file depends on the manifest and the chunks alone, so a commit that was
killed can be run again to the same end.
"""

import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.commit.audit import Counts, Mapper, balance
from jobs.dataset.layout import CHUNK, EARLIER, Layout
from jobs.dataset.parquet import BufferedParquetWriter, data_files, encode_table, read_groups
from jobs.dataset.schema import ERROR_COLUMNS
from jobs.digests import digest_uris, find, join
from jobs.errors import JobError
from jobs.listing.manifest import Manifest
from jobs.storage import Storage, StoredObject

# Of chunks, as they are stored; what a part holds of one outcome is at most that.
_PART_BYTES = 128 * 1024 * 1024
_SHARES = 16  # of the work on earlier files; each reads all that was listed again


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive chunks that go into the files of one number; `chunks` are uris and row counts."""

    layout: Layout
    number: int
    chunks: tuple[tuple[str, int], ...]


def finished_chunks(storage: Storage, layout: Layout) -> dict[str, StoredObject]:
    """Return id → file of the chunks that have their rows."""
    names = (
        (x, posixpath.splitext(posixpath.basename(x.uri))) for x in storage.list(layout.chunks)
    )
    return {chunk_id: x for x, (chunk_id, suffix) in names if suffix in (CHUNK, EARLIER)}


def commit_chunks(layout: Layout, storage: Storage, run_parallel: Mapper) -> Counts:
    """Put the rows of this generation's chunks into the dataset, and check its accounts.

    Rows of earlier generations stay as they are, unless this one has labelled their object again.
    Until the accounts balance, there is no `_SUCCESS`.

    Raises:
        JobError: a chunk has no rows, or the accounts do not balance.
    """
    parts = plan_parts(storage, layout)
    storage.delete([layout.success])
    if layout.generation:
        earlier = [x for x in data_files(layout, storage) if not layout.is_later(x)]
        shares = [tuple(earlier[start::_SHARES]) for start in range(min(_SHARES, len(earlier)))]
        run_parallel(drop_replaced, [(layout, share) for share in shares])
    schemas = run_parallel(merge_part, parts)
    delete_stale_files(storage, layout, len(parts))
    fill_outcomes(storage, layout, schemas[0])
    return balance(layout, storage, run_parallel)


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
        chunks.append((finished[chunk_id].uri, rows))
        size += finished[chunk_id].size
        if size >= _PART_BYTES:
            parts.append(Part(layout, len(parts), tuple(chunks)))
            chunks, size = [], 0
    if chunks:
        parts.append(Part(layout, len(parts), tuple(chunks)))
    return parts


def merge_part(part: Part) -> pa.Schema:
    """Write the files of one part; return the columns of its chunks.

    Raises:
        JobError: a chunk is damaged, or does not have a row for each of its objects.
    """
    storage, uri = Storage(), partial(part.layout.part, number=part.number)
    with (
        BufferedParquetWriter(storage, uri("ok")) as ok,
        BufferedParquetWriter(storage, uri("error")) as error,
    ):
        for table in _read_chunks(storage, part):
            ok_rows, errors = _split(table)
            ok.add(ok_rows)
            error.add(errors)
    return table.schema


def drop_replaced(layout_and_files: tuple[Layout, tuple[str, ...]]) -> None:
    """Take the rows of objects that this generation has labelled again out of earlier files.

    A file that has no rows then, or had none, is deleted.
    """
    layout, files = layout_and_files
    storage = Storage()
    manifest = Manifest(storage, layout.manifest)
    again = np.sort(join(digest_uris(x) for x in manifest.tables(("uri",))))
    for uri in files:
        kept = [~find(digest_uris(x), again)[1] for x in read_groups(storage, uri, ("uri",))]
        if any(map(len, kept)) and all(mask.all() for mask in kept):
            continue
        with BufferedParquetWriter(storage, uri) as rest:
            for table, mask in zip(read_groups(storage, uri), kept, strict=True):
                rest.add(table.filter(pa.array(mask)))


def delete_stale_files(storage: Storage, layout: Layout, part_count: int) -> None:
    """Delete what a commit that did not end has written beyond this one's parts."""
    for outcome in ("ok", "error"):
        current = {layout.part(outcome, number) for number in range(part_count)}
        written = [item.uri for item in storage.list(layout.outcome(outcome))]
        stale = (x for x in written if layout.is_later(x) and x not in current)
        storage.delete({*stale, *(x for x in written if x.endswith(".tmp"))})


def fill_outcomes(storage: Storage, layout: Layout, schema: pa.Schema) -> None:
    """Write a file without rows for an outcome that has none; it can be read like the other."""
    for outcome, rows in zip(("ok", "error"), _split(schema.empty_table()), strict=True):
        if not any(storage.list(layout.outcome(outcome))):
            storage.write(layout.part(outcome, 0), encode_table(rows))


def _split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the rows that are ok, and those that are errors, each with its outcome's columns."""
    failed = pc.is_valid(table.column("error_kind"))
    return table.filter(pc.invert(failed)).drop_columns(list(ERROR_COLUMNS)), table.filter(failed)


def _read_chunks(storage: Storage, part: Part) -> Iterator[pa.Table]:
    for uri, rows in part.chunks:
        data = io.BytesIO(storage.read(uri).data)
        try:
            table = pq.read_table(data, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as exc:
            storage.delete([uri])
            raise JobError(
                f"{uri} was damaged; run the same command again to label it anew"
            ) from exc
        if table.num_rows != rows:
            raise JobError(
                f"{uri} has {table.num_rows} rows for {rows} objects; delete it and run the same "
                "command again"
            )
        yield table
