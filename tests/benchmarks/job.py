"""The job in steady state, against its bound and against what one would use instead.

In turns: the bound (`bound.py`), `labelmill label` from and to the local disk, the same from and to
SeaweedFS on this machine, a hand-written DataLoader loop, and a Daft pipeline in an environment of
its own. All label the same kind of JPEGs with the same network, untrained. What is steady is in
`trace.py`: start-up and commit are apart. CPU time is that of every process; SeaweedFS's own, which
takes cores away from the job that it would leave alone elsewhere, is apart too.

A shared machine may be a fifth faster or slower a minute later. So the bound is taken before each
round and after it, and of a job's CPU time its actors say themselves what was decoding and network:
`cores / (t_decode + t_forward)` of the very run is its own bound.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.demo.seaweedfs import S3Server, run_seaweedfs
from jobs.resources import count_cores
from tests.benchmarks.bound import measure_bound
from tests.benchmarks.environments import make_environment
from tests.benchmarks.harness import Figures, Report, interleave
from tests.benchmarks.images import named_photos, write_photos
from tests.benchmarks.runs import Run, label_command, run_traced

BUCKET = "benchmark"
BOUND, LOCAL, REMOTE = "bound", "job, local disk", "job, SeaweedFS"
_AFTER = "bound, after the others"
COLUMNS = {
    "images_per_s": "images/s",
    "of_bound": "÷ bound",
    "of_own_bound": "÷ own bound",
    "cpu_ms": "CPU ms per image",
    "of_bound_cpu": "bound's CPU ms ÷",
    "compute_cpu_ms": "of it decode and forward",
    "overhead_cpu_ms": "of it the rest",
    "start_s": "until the first batch begins, s",
    "end_s": "after the last, s",
}
KINDS = {
    "labelling_cpu_ms": "actors beside decode and forward",
    "driver_cpu_ms": "driver",
    "worker_cpu_ms": "other workers",
    "raylet_cpu_ms": "raylet",
    "gcs_cpu_ms": "GCS",
    "agents_cpu_ms": "Ray's agents",
    "other_cpu_ms": "others",
    "storage_cpu_ms": "SeaweedFS (not in the sum)",
}


def measure(*, quick: bool) -> list[Report]:
    """Return the comparison, and the job's CPU time by kind of process."""
    images, peer_images, repeats = (320, 128, 1) if quick else (640, 320, 3)
    with tempfile.TemporaryDirectory(prefix="labelmill-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(run_seaweedfs(folder / "seaweedfs"))
        _upload(server, images)
        cases: dict[str, Callable[[], Figures]] = {
            BOUND: lambda: measure_bound(10 if quick else 20),
            **_job_cases(folder, write_photos(folder / "photos", images), server),
            **_peer_cases(folder, write_photos(folder / "few", peer_images)),
            _AFTER: lambda: measure_bound(10 if quick else 20),
        }
        runs = interleave(cases, repeats=repeats)
    runs[BOUND] = list(map(_mean, runs[BOUND], runs.pop(_AFTER)))
    _compare_with_bound(runs)
    settings = {"images": images, "peer_images": peer_images, "repeats": repeats}
    title = "The job in steady state, its bound, and what one would use instead"
    comparison = Report(name="job", title=title, columns=COLUMNS, settings=settings)
    comparison.add(runs)
    if "Daft" not in runs:
        comparison.notes.append("Daft could not be installed here, and was left out.")
    title = "The job's CPU ms per image, by kind of process"
    split = Report(name="job_processes", title=title, columns=KINDS, settings=settings)
    split.add({name: runs[name] for name in (LOCAL, REMOTE)})
    return [comparison, split]


def _job_cases(folder: Path, photos: Path, server: S3Server) -> dict[str, Callable[[], Figures]]:
    numbers = itertools.count()

    def label(source: str, root: str, environment: dict[str, str] | None) -> Figures:
        run = run_traced(label_command(source, f"{root}/job-{next(numbers)}"), environment)
        record: dict[str, Any] = json.loads(run.stdout)
        return _figures(run, lanes=record["actors"][1])

    s3 = f"s3://{BUCKET}"
    return {
        LOCAL: lambda: label(str(photos), str(folder), None),
        REMOTE: lambda: label(f"{s3}/photos/", s3, server.child_environment()),
    }


def _peer_cases(folder: Path, photos: Path) -> dict[str, Callable[[], Figures]]:
    numbers = itertools.count()

    def label(python: str | Path, module: str) -> Figures:
        program = [str(python), "-m", f"tests.benchmarks.{module}", "TRACE"]
        run = run_traced([*program, str(photos), str(folder / f"{module}-{next(numbers)}")])
        return _figures(run, lanes=1)

    cases = {"DataLoader": lambda: label(sys.executable, "peer_dataloader")}
    same = [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "torchvision")]
    if python := make_environment("daft", ["daft>=0.7", *same]):
        cases["Daft"] = lambda: label(python, "peer_daft")
    return cases


def _figures(run: Run, lanes: int) -> Figures:
    batches = run.trace.batches
    return {
        **run.steady_state(lanes),
        "start_s": min(batch.began_s for batch in batches) - run.began_s,
        "end_s": run.ended_s - max(batch.ended_s for batch in batches),
    }


def _compare_with_bound(runs: dict[str, list[Figures]]) -> None:
    """Add to each run what it reaches of the bound of the same round."""
    for name, figures in runs.items():
        for run, bound in zip(figures, runs[BOUND], strict=True):
            run["of_bound"] = run["images_per_s"] / bound["images_per_s"]
            run["of_bound_cpu"] = bound["cpu_ms"] / run["cpu_ms"]
            if name in (LOCAL, REMOTE):
                compute_ms = run["compute_cpu_ms"]
                run["of_own_bound"] = run["images_per_s"] * compute_ms / 1000 / count_cores()
                run["overhead_cpu_ms"] = run["cpu_ms"] - compute_ms
                run["labelling_cpu_ms"] = run["actor_cpu_ms"] - compute_ms


def _mean(one: Figures, other: Figures) -> Figures:
    return {key: (one[key] + other[key]) / 2 for key in one}


def _upload(server: S3Server, count: int) -> None:
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    for name, data in named_photos(count):
        client.put_object(Bucket=BUCKET, Key=f"photos/{name}", Body=data)
    client.close()
