"""The listing as a stream of chunks; new ones are written to the manifest on their way."""

import queue
import threading
from collections.abc import Iterable, Iterator

import pyarrow as pa

from jobs.inputs.rows import limit_rows
from jobs.job.continuity import what_decides_rows
from jobs.job.job import Job
from jobs.listing.chunks import Chunk, cut_chunks
from jobs.listing.manifest import Manifest
from jobs.storage import Storage

_CHUNKS_AHEAD = 1000  # how far the listing runs ahead of the labelling: half a million objects
_PATIENCE_S = 2.0  # a listing that ends within this time has its total before labelling begins


def list_chunks(job: Job, done: frozenset[str]) -> Iterator[tuple[Chunk, int | None]]:
    """Yield the chunks that are not `done`, each with the number of all objects once it is known.

    Raises:
        JobError: the listing failed.
    """
    storage = Storage()
    manifest = Manifest(storage, job.layout.manifest)
    totals = manifest.totals()
    if totals is not None:
        for chunk in manifest.chunks(without=done):
            yield chunk, totals.objects
        return
    tables = limit_rows(job.source.tables(storage), job.spec.limit)
    listing = _Ahead(record_tables(tables, job, manifest))
    for chunk in listing:
        if chunk.id not in done:
            yield chunk, listing.objects if listing.finished.is_set() else None


class _Ahead:
    """Run a listing in a thread, a bounded number of chunks ahead of the consumer.

    Attributes:
        objects: how many were listed so far.
        finished: set once all are.
    """

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self.objects = 0
        self.finished = threading.Event()
        self._queue: queue.Queue[Chunk | Exception | None] = queue.Queue(_CHUNKS_AHEAD)
        threading.Thread(target=self._run, args=(chunks,), daemon=True).start()

    def __iter__(self) -> Iterator[Chunk]:
        self.finished.wait(_PATIENCE_S)
        while (item := self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _run(self, chunks: Iterator[Chunk]) -> None:
        try:
            for chunk in chunks:
                self.objects += chunk.objects.num_rows
                self._queue.put(chunk)
            self.finished.set()
            self._queue.put(None)
        except Exception as exc:  # raised again in the consumer's thread, whatever it is
            self._queue.put(exc)


def record_tables(tables: Iterable[pa.Table], job: Job, manifest: Manifest) -> Iterator[Chunk]:
    """Cut rows into chunks, writing them to the manifest on their way."""
    of_job = f"{job.layout.generation} {what_decides_rows(job)}"
    chunks = cut_chunks(tables, row_bytes=job.inference.row_bytes, job=of_job)
    return manifest.record(chunks, lambda: (job.source.duplicates, job.source.passed_over))
