"""The data flow, on Ray Data: list → fetch and decode → predict → write, one row per chunk."""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError

from jobs.errors import JobError, SpecError, StorageError
from jobs.job.job import Plan
from jobs.labelling.attempts import begin_listing, end_listing
from jobs.labelling.stages import ChunkLabeller, ChunkPredictor, Worker, decode_chunk
from jobs.listing.chunks import Summary, pack_table
from jobs.listing.stream import list_chunks

T = TypeVar("T")
R = TypeVar("R")

# Of a task that decodes. Ray Data notices the end of one, and starts the next, some 0.15 s later,
# and a task may wait for the network: with three for two cores, these are busy meanwhile.
_DECODE_CPUS = 0.66

# A worker's words → what the driver raises.
_KINDS: dict[str, type[JobError]] = {
    "SpecError": SpecError,
    **dict.fromkeys(("StorageError", "DeniedError", "NoBucketError"), StorageError),
}
_OUR_ERROR = re.compile(r"^(?:jobs|model_repo)\.[\w.]+\.(\w+): (.+)$", re.MULTILINE)


class ChunkSource(Datasource):
    """The chunks that have no rows yet, as one streaming read task."""

    def __init__(self, plan: Plan, done: frozenset[str]) -> None:
        super().__init__()
        self._plan = plan
        self._done = done

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: nobody knows before the listing is done."""
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task; a listing has an order."""
        plan, done = self._plan, self._done

        def read() -> Iterator[pa.Table]:
            begin_listing(plan)
            for chunk, total in list_chunks(plan, done):
                row = {"id": chunk.id, "objects": pack_table(chunk.objects), "total": total or 0}
                yield pa.Table.from_pylist([row])
            end_listing(plan)

        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, metadata)]


def build_dataset(plan: Plan, done: frozenset[str]) -> Dataset:
    """Compose the stages. Lazy: nothing runs until it is iterated.

    Args:
        plan: the job.
        done: ids of chunks that have their rows already.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # One row per block: a row is a whole chunk here, and each must travel as soon as it is there.
    context.target_max_block_size = 1
    # Setting memory aside for each stage, 20 times a second, takes half of the driver's CPU time.
    # Pixels need it, and so does a listing that may have to wait for a cluster's actors.
    is_small = not plan.separate_decode and "RAY_ADDRESS" not in os.environ
    context.op_resource_reservation_enabled = not is_small
    # No CPU: the listing waits for the storage, and must not take a core from the actors.
    chunks = ray.data.read_datasource(ChunkSource(plan, done), num_cpus=0, override_num_blocks=1)
    actors: dict[str, Any] = {
        "fn_constructor_kwargs": {"plan": plan, "this_worker": _this_actor},
        "batch_size": 1,
        "num_cpus": plan.num_cpus,
        "num_gpus": plan.num_gpus or None,
    }
    smallest, largest = plan.actors
    if not plan.separate_decode:
        pool = ActorPoolStrategy(min_size=smallest, max_size=largest)
        return chunks.map_batches(ChunkLabeller, compute=pool, **actors)
    pixels = chunks.map_batches(
        decode_chunk, fn_kwargs={"plan": plan}, batch_size=1, num_cpus=_DECODE_CPUS
    )
    pool = ActorPoolStrategy(
        min_size=smallest,
        max_size=largest,
        max_concurrent_calls_per_actor=plan.chunks_in_hand,
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
            for row in table.to_pylist():
                yield Summary(**{**row, "total": row["total"] or None})
    except RayError as exc:
        raise _explain(exc) from exc


def run_parallel(function: Callable[[T], R], items: Iterable[T], *, num_gpus: float = 0) -> list[R]:
    """Call `function` on each item, anywhere in the cluster; results keep the items' order.

    Args:
        function: takes one CPU.
        items: what it is called on.
        num_gpus: that it takes beside.

    Raises:
        JobError: a call failed.
    """
    remote = ray.remote(num_cpus=1, num_gpus=num_gpus)(function)
    try:
        results: list[R] = ray.get([remote.remote(item) for item in items])
    except RayError as exc:
        raise _explain(exc) from exc
    return results


def _this_actor() -> Worker:
    context = ray.get_runtime_context()
    with warnings.catch_warnings():  # Ray's own, about something else that this calls
        warnings.simplefilter("ignore")
        restarted = bool(context.was_current_actor_reconstructed)
    return Worker(str(context.get_actor_id()), restarted)


def _explain(error: BaseException) -> JobError:
    """Find what a worker wanted to say in the traceback that Ray makes of it.

    The exception itself does not always arrive: Ray Data's own one around it loses its cause.
    """
    said = _OUR_ERROR.findall(str(error))
    if said:
        name, message = said[-1]
        return _KINDS.get(name, JobError)(message)
    last_line = str(error).strip().rpartition("\n")[2]
    return JobError(f"a worker failed: {last_line}; -v shows what it wrote")
