"""The service under load: Serve's own proxy, HAProxy, and LitServe in an environment of its own.

In turns, each started anew with one replica for each core: as many callers as named, each of which
asks again as soon as it is answered, send JPEGs of ImageNet's sizes, one a request. Beside them
stands the bound (`bound.py`). CPU time is that of every process of the service, not of the load
generator; of replicas, that of the threads that decode and run the network is known by itself. What
is used while nobody asks is measured before the load, and given apart.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import httpx

from jobs.demo.seaweedfs import free_ports
from jobs.resources import count_cores
from tests.benchmarks.bound import measure_bound
from tests.benchmarks.environments import make_environment
from tests.benchmarks.harness import Figures, Report, interleave
from tests.benchmarks.images import imagenet_photos
from tests.benchmarks.processes import ProcessTree, Window
from tests.support.load import Answer, ask_in_turn, build_form_post, build_post, rate
from tests.support.processes import replicas
from tests.support.service import (
    ROOT,
    RunningService,
    haproxy_environment,
    run_service,
    wait_until,
)

CALLERS = (1, 8, 32)
BOUND, PROXY, HAPROXY, LITSERVE = "bound", "default proxy", "HAProxy", "LitServe"
COLUMNS = {
    "per_s": "requests/s",
    "of_bound": "÷ bound",
    "cpu_of_bound": "CPU ÷ bound's",
    "latency_ms": "median latency, ms",
    "added_ms": "of it beside decode and forward, ms",
    "batch": "images in a batch",
    "cpu_ms": "CPU ms per request",
    "compute_cpu_ms": "of it decode and forward",
    "idle_cpu_ms": "of it what is used anyway",
    "rest_cpu_ms": "of it the rest",
    "idle_cpu_ms_per_s": "CPU ms per second while nobody asks",
}
_NAMED_THREADS = Path(__file__).parent / "named_threads"
_COMPUTE = ("decode_", "forward_")
_IMAGES = 100
# What our own preprocessing and network need, in LitServe's environment.
_SAME = ("numpy", "openvino", "pillow", "safetensors", "simplejpeg", "torch", "torchvision")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def measure(*, quick: bool) -> list[Report]:
    """Return throughput, latency and CPU time for each proxy and number of callers."""
    seconds, repeats = (8, 1) if quick else (20, 3)
    cases: dict[str, Callable[[], Figures]] = {
        BOUND: lambda: measure_bound(seconds),
        PROXY: lambda: _measure_service({}, seconds),
        HAPROXY: lambda: _measure_service(haproxy_environment(), seconds),
    }
    if python := make_environment("litserve", _litserve_packages()):
        cases[LITSERVE] = lambda: _measure_litserve(python, seconds)
    runs = interleave(cases, repeats=repeats)
    report = Report(
        name="service",
        title="The service under load, beside its bound",
        columns=COLUMNS,
        settings={"seconds": seconds, "repeats": repeats, "replicas": count_cores()},
    )
    report.add({BOUND: [_as_row(bound) for bound in runs.pop(BOUND)]})
    for name, figures in runs.items():
        report.add({f"{name}, idle": [_of(run, "idle") for run in figures]})
        for callers in CALLERS:
            row = f"{name}, {callers} caller{'s' * (callers > 1)}"
            report.add({row: [_of(run, str(callers)) for run in figures]})
            report.add_ratio("of_bound", row, "per_s", BOUND, "per_s")
            report.add_ratio("cpu_of_bound", row, "cpu_ms", BOUND, "cpu_ms")
    if LITSERVE not in runs:
        report.notes.append("LitServe could not be installed here, and was left out.")
    return [report]


def _as_row(bound: Figures) -> Figures:
    cpu_ms = bound["cpu_ms"]
    return {"per_s": bound["images_per_s"], "cpu_ms": cpu_ms, "compute_cpu_ms": cpu_ms}


def _of(run: Figures, load: str) -> Figures:
    """Return the figures of one load: their names end in `@` and the load."""
    return {key.partition("@")[0]: run[key] for key in run if key.partition("@")[2] == load}


def _measure_service(environment: dict[str, str], seconds: float) -> Figures:
    """Start the service, load it with each number of callers, and end it."""
    count = count_cores()
    sizes = (f"min_replicas={count}", f"max_replicas={count}")
    arguments = (*sizes, "num_gpus=0", "max_queue_s=60")
    paths = {"PYTHONPATH": f"{_NAMED_THREADS}{os.pathsep}{ROOT}"}
    with (
        tempfile.TemporaryDirectory(prefix="labelmill-bench-") as folder,
        run_service(Path(folder), *arguments, environment=environment | paths) as service,
    ):
        wait_until(lambda: len(replicas(service)) == count, 60)
        requests = [build_post(photo) for photo in imagenet_photos(_IMAGES)]
        return _measure_loads(
            service.url, requests, service.process.pid, lambda: _compute_s(service), seconds
        )


def _measure_litserve(python: Path, seconds: float) -> Figures:
    with _run_litserve(python) as (url, pid):
        photos = imagenet_photos(_IMAGES)
        requests = [build_form_post(photo, "/predict") for photo in photos]
        return _measure_loads(url, requests, pid, None, seconds)


def _measure_loads(
    url: str,
    requests: Sequence[bytes],
    pid: int,
    compute_s: Callable[[], float] | None,
    seconds: float,
) -> Figures:
    """Measure the process `pid` and its children while nobody asks, and under each load.

    Args:
        compute_s: what threads that decode and run the network have used so far, if it can be told.
    """
    tree = ProcessTree(pid)
    asyncio.run(ask_in_turn(url, requests, max(CALLERS), seconds / 2))
    time.sleep(2)  # what is still being written of that
    mark = tree.mark()
    time.sleep(seconds / 2)
    idle = tree.since(mark)
    figures = {"idle_cpu_ms_per_s@idle": idle.cpu_s / idle.wall_s * 1000}
    for callers in CALLERS:
        mark, before, began = tree.mark(), compute_s and compute_s(), time.monotonic()
        answers = asyncio.run(ask_in_turn(url, requests, callers, seconds))
        window = tree.since(mark)
        if failed := [answer for answer in answers if answer.status != 200]:
            raise RuntimeError(f"{len(failed)} of {len(answers)} requests failed: {failed[0]}")
        found = _latencies(answers)
        found["per_s"] = rate(answers, began + seconds / 4, began + seconds)
        found["cpu_ms"] = window.cpu_s / len(answers) * 1000
        if compute_s is not None and before is not None:
            found |= _split(window, idle, compute_s() - before, len(answers))
        figures |= {f"{key}@{callers}": value for key, value in found.items()}
    return figures


def _split(window: Window, idle: Window, compute_s: float, count: int) -> Figures:
    """Tell decoding and the network from the rest, and that from what is used in any case."""
    idle_s = idle.cpu_s / idle.wall_s * window.wall_s
    parts_s = {
        "compute_cpu_ms": compute_s,
        "idle_cpu_ms": idle_s,
        "rest_cpu_ms": window.cpu_s - compute_s - idle_s,
    }
    return {name: seconds / count * 1000 for name, seconds in parts_s.items()}


def _latencies(answers: Sequence[Answer]) -> Figures:
    latency_ms = [answer.seconds * 1000 for answer in answers]
    found = {"latency_ms": statistics.median(latency_ms)}
    predictions = [answer.json().get("predictions") for answer in answers]
    if any(each is None for each in predictions):
        return found
    timings = [prediction["timing"] for (prediction,) in predictions]
    batches = sum(1 / timing["batch_size"] for timing in timings)
    found["batch"] = len(timings) / batches
    if found["batch"] == 1:  # else it is the time in the queue
        compute_ms = [timing["decode_ms"] + timing["forward_ms"] for timing in timings]
        added_ms = (all_ms - ms for all_ms, ms in zip(latency_ms, compute_ms, strict=True))
        found["added_ms"] = statistics.median(added_ms)
    return found


def _compute_s(service: RunningService) -> float:
    """Return the CPU seconds that replicas' decode and forward threads have used so far."""
    ticks = 0
    for pid in replicas(service):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            name, _, fields = (thread / "stat").read_text().rpartition(")")
            if name.partition("(")[2].startswith(_COMPUTE):
                ticks += sum(map(int, fields.split()[11:13]))
    return ticks / _TICKS_PER_S


def _litserve_packages() -> list[str]:
    same = [f"{name}=={version(name).partition('+')[0]}" for name in _SAME]
    return ["litserve", "python-multipart", f"tritonclient[grpc]=={version('tritonclient')}", *same]


@contextmanager
def _run_litserve(python: Path) -> Iterator[tuple[str, int]]:
    """Run LitServe until the context ends; give its address and its process."""
    (port,) = free_ports(1)
    command = [python, "-m", "tests.benchmarks.peer_litserve", str(port), str(count_cores())]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(f"{url}/health"), 120)
            if process.poll() is not None:
                raise RuntimeError(f"LitServe ended with exit code {process.returncode}")
            yield url, process.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers would outlive it


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
