"""The data flow, on Ray Data: list → fetch and decode → predict → write, one row per chunk."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError

from jobs.errors import JobError
from jobs.job.job import Job
from jobs.labelling.attempts import Attempts
from jobs.labelling.stages import ChunkLabeller, ChunkPredictor, Worker, decode_chunk
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import OUR_ERRORS, ChunkTask, or_error, pack, to_job_error, unpack
from jobs.listing.stream import list_chunks

T = TypeVar("T")
R = TypeVar("R")

# Of a task that decodes. Ray Data notices its end, and starts the next one, some 0.15 s later, and
# a task may wait for the network: three of them keep two cores busy.
_DECODE_CPUS = 0.66


class ChunkSource(Datasource):
    """The chunks that have no rows yet, as one streaming read task."""

    def __init__(self, job: Job, done: frozenset[str]) -> None:
        super().__init__()
        self._job = job
        self._done = done

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: nobody knows before the listing is done."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task; a listing has an order."""
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(_list, self._job, self._done), metadata)]


def _list(job: Job, done: frozenset[str]) -> Iterator[pa.Table]:
    attempts = Attempts(job.layout, job.run_id)
    try:
        attempts.begin_listing()
        for chunk, total in list_chunks(job, done):
            yield pa.table(pack(ChunkTask(chunk.id, chunk.objects, total)))
        attempts.end("listing")
    except OUR_ERRORS as exc:
        yield pa.table(pack(to_job_error(exc)))


def build_dataset(job: Job, done: frozenset[str]) -> Dataset:
    """Compose the stages. Lazy: nothing runs until it is iterated.

    Chunks whose ids are in `done` have their rows already.
    """
    place = job.placement
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # One row per block: a row is a whole chunk here, and each must travel as soon as it is there.
    context.target_max_block_size = 1
    # Setting memory aside for each stage, 20 times a second, takes half of the driver's CPU time.
    # Pixels need it, and so does a listing that may have to wait for a cluster's actors.
    is_small = not place.separate_decode and "RAY_ADDRESS" not in os.environ
    context.op_resource_reservation_enabled = not is_small
    # No CPU: the listing waits for the storage, and must not take a core from the actors.
    chunks = ray.data.read_datasource(ChunkSource(job, done), num_cpus=0, override_num_blocks=1)
    actors: dict[str, Any] = {
        "fn_constructor_kwargs": {"job": job, "this_worker": _this_actor},
        "batch_size": 1,
        "num_cpus": place.num_cpus,
        "num_gpus": place.num_gpus or None,
    }
    smallest, largest = place.actors
    if not place.separate_decode:
        pool = ActorPoolStrategy(min_size=smallest, max_size=largest)
        return chunks.map_batches(ChunkLabeller, compute=pool, **actors)
    pixels = chunks.map_batches(
        decode_chunk, fn_kwargs={"job": job}, batch_size=1, num_cpus=_DECODE_CPUS
    )
    pool = ActorPoolStrategy(
        min_size=smallest,
        max_size=largest,
        max_concurrent_calls_per_actor=place.chunks_in_hand,
        enable_true_multi_threading=True,
    )
    return pixels.map_batches(ChunkPredictor, compute=pool, zero_copy_batch=True, **actors)


def run_dataset(dataset: Dataset) -> Iterator[Summary]:
    """Run the job, yielding a summary for each chunk as its rows are written.

    Raises:
        JobError: a worker failed; the message is the worker's own where it has one.
    """
    try:
        # Without prefetching, which would keep back each summary until there is another.
        options: dict[str, Any] = {"batch_format": "pyarrow", "prefetch_batches": 0}
        tables: Iterable[pa.Table] = dataset.iter_batches(batch_size=None, **options)
        for table in tables:
            for row in table.to_batches(max_chunksize=1):
                yield unpack(row.to_pydict(), Summary)
    except RayError as exc:
        raise _worker_failed(exc) from exc


def run_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call `function` on each item, anywhere in the cluster; results keep the items' order.

    Each call takes one CPU.

    Raises:
        JobError: a call failed.
    """
    remote = ray.remote(num_cpus=1)(or_error)
    try:
        results = ray.get([remote.remote(function, item) for item in items])
    except RayError as exc:
        raise _worker_failed(exc) from exc
    for result in results:
        if isinstance(result, JobError):
            raise result
    return list(results)


def _this_actor() -> Worker:
    context = ray.get_runtime_context()
    with warnings.catch_warnings(action="ignore"):  # Ray's own, about something else it calls
        restarted = bool(context.was_current_actor_reconstructed)
    return Worker(str(context.get_actor_id()), restarted)


def _worker_failed(error: RayError) -> JobError:
    last_line = str(error).strip().rpartition("\n")[2]
    return JobError(f"a worker failed: {last_line}; -v shows what it wrote")
