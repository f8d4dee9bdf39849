"""The data flow, on Ray Data: list → fetch and decode → predict → write, one row per chunk.

This is the only module of jobs that knows Ray.
"""

import contextlib
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError

from jobs.attempts import begin_listing, end_listing
from jobs.chunks import Summary, pack_table
from jobs.errors import JobError, SpecError, StorageError
from jobs.listing import list_chunks
from jobs.plan import Plan, Resources
from jobs.stages import ChunkLabeller, ChunkPredictor, Worker, decode_chunk

T = TypeVar("T")
R = TypeVar("R")

_ANSWER_TIMEOUT_S = 10
# What a Ray of our own does for nobody, as no dashboard or Prometheus asks it and no cluster grows.
# On two cores its processes would take 1 ms of CPU time from each image.
_IDLE_LESS = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "60",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",  # 0: not at all
}
# A worker's words → what the driver raises.
_KINDS: dict[str, type[JobError]] = {
    "SpecError": SpecError,
    **dict.fromkeys(("StorageError", "DeniedError", "NoBucketError"), StorageError),
}
_SUDDEN_END = (
    "labelmill: this process or its Ray was killed, perhaps for want of memory; "
    "the same command continues"
)
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
        "compute": ActorPoolStrategy(min_size=plan.actors[0], max_size=plan.actors[1]),
    }
    if not plan.separate_decode:
        return chunks.map_batches(ChunkLabeller, **actors)
    pixels = chunks.map_batches(decode_chunk, fn_kwargs={"plan": plan}, batch_size=1, num_cpus=1)
    return pixels.map_batches(ChunkPredictor, zero_copy_batch=True, **actors)


def run_dataset(dataset: Dataset) -> Iterator[Summary]:
    """Run the job, yielding a summary for each chunk as its rows are written.

    Raises:
        JobError: a worker failed; the message is the worker's own where it has one.
    """
    try:
        for row in dataset.iter_rows():
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


@contextlib.contextmanager
def running_ray(*, verbose: bool) -> Iterator[Resources]:
    """Join the cluster that this process belongs to, or start Ray on this machine.

    Args:
        verbose: let Ray and its workers write to the terminal.

    Raises:
        SpecError: nobody answers at RAY_ADDRESS.
        JobError: Ray did not start.
    """
    _configure(verbose)
    options: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
    }
    # Ray puts the current folder on its workers' path, where a folder of the user's that is called
    # "jobs" would hide ours; so it is started from a folder that has none.
    quietly = contextlib.nullcontext() if verbose else _silenced_stderr()
    with _last_words():
        with _kept_sigterm(), contextlib.chdir(sys.prefix), quietly:
            _start(options)
        with _raylets_off_stdout(verbose):
            try:
                total = ray.cluster_resources()
                yield Resources(int(total.get("CPU", 1)), int(total.get("GPU", 0)))
            finally:
                ray.shutdown()


def _this_actor() -> Worker:
    context = ray.get_runtime_context()
    with warnings.catch_warnings():  # Ray's own, about something else that this calls
        warnings.simplefilter("ignore")
        restarted = bool(context.was_current_actor_reconstructed)
    return Worker(str(context.get_actor_id()), restarted)


def _check_reachable(address: str) -> None:
    """Say soon what Ray would say after minutes.

    Raises:
        SpecError: nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _ANSWER_TIMEOUT_S).close()
    except OSError as exc:
        raise SpecError(
            f"no Ray cluster answers at RAY_ADDRESS {address!r} ({exc}); correct it, or unset it "
            "to run on this machine"
        ) from exc


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


def _start(options: dict[str, Any]) -> None:
    # Not "auto": that would join whatever Ray happens to run on this machine.
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _check_reachable(address)
            ray.init(address=address, **options)
        else:
            ray.init(address="local", include_dashboard=False, **options)
    except JobError:
        raise
    except SystemExit as exc:  # what Ray makes of a SIGTERM while it starts
        raise KeyboardInterrupt from exc
    except Exception as exc:  # some of what Ray raises here has no class of its own
        hint = "does the cluster want a token (RAY_AUTH_MODE=token)? " if address else ""
        raise JobError(f"Ray did not start: {exc}; {hint}-v shows what it wrote") from exc


@contextlib.contextmanager
def _last_words() -> Iterator[None]:
    """Have a sentence said if this process is ended at once, as Ray does when its raylet dies."""
    with subprocess.Popen(
        ["/bin/sh", "-c", f"read -r _ || echo {shlex.quote(_SUDDEN_END)} >&2"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            watcher.communicate(b"an end with its own words\n")


@contextlib.contextmanager
def _raylets_off_stdout(verbose: bool) -> Iterator[None]:
    """Keep what Ray prints of its nodes and workers off stdout, which is for results."""
    with contextlib.ExitStack() as stack:
        place = sys.stderr if verbose else stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(place))
        yield


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Undo what Ray makes of SIGTERM when it starts: it would abort the process."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Keep what Ray's C++ side writes to file descriptor 2 off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _configure(verbose: bool) -> None:
    """Set what Ray reads from the environment when it starts."""
    # Workers at the driver's own niceness: beside anything else they would starve at nice 15.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "RAY_ADDRESS" not in os.environ:
        # Nobody restarts a Ray of our own; by default it waits 60 s.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
        for name, value in _IDLE_LESS.items():
            os.environ.setdefault(name, value)
    if not verbose:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
