"""What a job's stages cost on this machine, measured on a sample of its input."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from jobs.errors import FetchError, JobError
from jobs.inputs.fetch import FETCH_THREADS, fetch_images
from jobs.job.job import Job
from jobs.planning.rehearse import Cost, RehearsalProcess
from jobs.resources import count_cores
from jobs.storage import Fetched, Storage
from model_repo.inception_v3 import ModelError
from model_repo.inception_v3.options import count_shares

# Takes a method of `Rehearsal` and its arguments; returns each worker's answer.
Call = Callable[..., list[Any]]

# A larger batch has to be faster by this factor to be worth its memory.
BATCH_GAIN = 1.03

_MOST_THREADS = 512  # more than one process can keep busy: it is then known to be the limit
_FETCH_S = 10.0
_FETCH_BYTES = 256 * 1024 * 1024
_CLIENT_BOUND = 0.7  # of a core: one process that fetches can use no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one image of a sample costs on one machine; `_cpu_s` are CPU seconds.

    Attributes:
        took_s: how long measuring took.
        cores, had_cores: of the machine; the forward pass had so many, other programs the rest.
        sampled: objects that were fetched.
        errors: kind → how many could not be labelled.
        example: one of those, and why.
        fetch_per_s: objects that this machine can fetch.
        forward_cpu_s, forward_s: batch size → cost per image with all of the machine busy; by the
            clock it is an actor's.
        row_bytes, write_s: of one row of a chunk; the commit is left out.
        load_s: of the model.
    """

    at: str
    took_s: float
    cores: int
    had_cores: float
    sampled: int
    image_bytes: float
    errors: dict[str, int] = field(default_factory=dict)
    example: str | None = None
    fetch_per_s: float
    fetch_cpu_s: float
    decode_cpu_s: float
    forward_cpu_s: dict[int, float]
    forward_s: dict[int, float]
    row_bytes: float
    write_cpu_s: float
    write_s: float
    load_s: float

    @property
    def error_share(self) -> float:
        """Return the share of objects that cannot be labelled."""
        return sum(self.errors.values()) / self.sampled


def sample_size() -> int:
    """Return how many objects `measure` wants: enough to keep its requests busy for a while."""
    return min(4 * FETCH_THREADS * count_cores(), 4 * _MOST_THREADS)


def measure(job: Job, objects: pa.Table) -> Measurement:
    """Do the stages of `job` on a sample, on this machine, in as many processes as actors.

    Every batch size is tried, unless the spec names one. Rows are written to the job's output and
    deleted again, if it has one.

    Raises:
        JobError: the storage fails, or a process that measures dies.
    """
    at, started = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    fetched, fetching, fetch_per_s = _fetch(job, objects)
    workers = _count_workers(job)
    with _rehearsing(job, objects, fetched) as call:
        load_s = max(call("load"))
        decoding = call("decode", max(1, count_cores() // workers))
        forward = _try_batch_sizes(call, job)
        writing = call("write", bool(job.spec.output))
    broken = {uri: (kind, why) for _, some in decoding for uri, kind, why in some}
    decode, write = (Cost.total(cost for cost, _ in some) for some in (decoding, writing))
    whole = Cost.total(forward.values())
    return Measurement(
        at=at,
        took_s=round(time.monotonic() - started, 1),
        cores=count_cores(),
        had_cores=whole.cpu_s / whole.wall_s * workers,
        sampled=len(fetched),
        image_bytes=sum(len(x.data) for x in fetched if isinstance(x, Fetched)) / len(fetched),
        errors=dict(Counter(kind for kind, _ in broken.values())),
        example=next((f"{uri}: {why}" for uri, (_, why) in broken.items()), None),
        fetch_per_s=fetch_per_s,
        fetch_cpu_s=fetching.cpu_s / fetching.images,
        decode_cpu_s=decode.cpu_s / decode.images,
        forward_cpu_s={size: cost.cpu_s / cost.images for size, cost in forward.items()},
        forward_s={size: cost.wall_s / cost.images for size, cost in forward.items()},
        row_bytes=sum(size for _, size in writing) / len(writing),
        write_cpu_s=write.cpu_s / write.images,
        write_s=write.wall_s / write.images,
        load_s=load_s,
    )


def _fetch(job: Job, objects: pa.Table) -> tuple[list[Fetched | FetchError], Cost, float]:
    """Fetch the sample, or as much as a few seconds allow; return how many a second as well."""
    fetchers = count_cores() if job.placement.separate_decode else job.placement.actors[1]
    threads = min(FETCH_THREADS * fetchers, _MOST_THREADS)
    fetched: list[Fetched | FetchError] = []
    started, started_cpu, held = time.monotonic(), time.process_time(), 0
    column = job.inference.image_column
    for _, outcome in fetch_images(Storage(), objects, threads=threads, image_column=column):
        fetched.append(outcome)
        held += len(outcome.data) if isinstance(outcome, Fetched) else 0
        if held > _FETCH_BYTES or time.monotonic() - started > _FETCH_S:
            break
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - started_cpu
    per_s = len(fetched) / wall_s
    if cpu_s > _CLIENT_BOUND * wall_s:  # this process was the limit, and a job has more of them
        per_s *= fetchers
    return fetched, Cost(len(fetched), cpu_s, wall_s), per_s


@contextmanager
def _rehearsing(
    job: Job, objects: pa.Table, fetched: Sequence[Fetched | FetchError]
) -> Iterator[Call]:
    """Start processes, share the sample out, and yield what has them all do something at once."""
    count = _count_workers(job)
    pool = ThreadPoolExecutor(count, thread_name_prefix="rehearse")

    def start(number: int) -> Any:
        process = stack.enter_context(RehearsalProcess())
        share = range(number % len(fetched), len(fetched), count)
        return process.Rehearsal(job, objects.take(list(share)), [fetched[i] for i in share])

    try:
        with pool, ExitStack() as stack:
            rehearsals = list(pool.map(start, range(count)))
            yield lambda verb, *arguments: list(
                pool.map(lambda x: getattr(x, verb)(*arguments), rehearsals)
            )
    except ModelError as exc:
        raise JobError(str(exc)) from exc
    except (EOFError, ConnectionError) as exc:
        raise JobError(
            "a process that measured died, perhaps because memory ran out; use fewer --actors"
        ) from exc


def _count_workers(job: Job) -> int:
    """Return how many actors share this machine's cores, or one of its GPUs."""
    if job.placement.num_gpus:
        return max(1, min(count_shares(1, job.placement.num_gpus), job.placement.actors[1]))
    return min(job.placement.actors[1], count_cores())


def _try_batch_sizes(call: Call, job: Job) -> dict[int, Cost]:
    """Measure the forward pass in larger and larger batches, for as long as they gain."""
    tried: dict[int, Cost] = {}
    for size in _batch_sizes(job):
        tried[size] = Cost.total(call("forward", size))
        # On CPUs, what others do on this machine is no reason to take another batch size.
        *before, last = (
            (cost.wall_s if job.placement.num_gpus else cost.cpu_s) / cost.images
            for cost in tried.values()
        )
        if len(before) > 1 and last * BATCH_GAIN > min(before):
            break
    return tried


def _batch_sizes(job: Job) -> list[int]:
    if job.spec.batch_size:
        return [job.spec.batch_size]
    largest = job.inference.batch_size  # the model's, or what a GPU needs
    return sorted({1, *(size for size in (8, 16, 32, 64, 128, 256) if size < largest), largest})
