"""How fast a job can feed GPUs: all of it but the network, beside processes that only decode.

With GPUs decoding is the bound, in tasks of its own. Here the job is as it is there, but for a
network that takes no time; the objects are links to few photos on the local disk. The first chunks
of a job are small, so they are left out: large jobs hardly have any.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs.resources import count_cores
from tests.benchmarks.bound import measure_bound
from tests.benchmarks.harness import Figures, Report, interleave
from tests.benchmarks.images import write_photos
from tests.benchmarks.runs import run_traced

BARE, JOB = "decoding alone", "job without its network"
COLUMNS = {
    "images_per_s": "images/s",
    "of_bare": "÷ decoding alone",
    "cpu_ms": "CPU ms per image",
    "cpu_of_bare": "÷ decoding alone's",
    "worker_cpu_ms": "of it tasks",
    "actor_cpu_ms": "the actor",
    "driver_cpu_ms": "driver",
}
_PHOTOS = 200


def measure(*, quick: bool) -> list[Report]:
    """Return images/s and CPU ms per image of both."""
    images, repeats = (20_000, 1) if quick else (30_000, 3)
    with tempfile.TemporaryDirectory(prefix="labelmill-bench-") as name:
        folder = Path(name)
        _link(write_photos(folder / "photos", _PHOTOS), folder / "objects", images)
        outputs = (folder / f"out-{number}" for number in range(repeats))
        cases: dict[str, Callable[[], Figures]] = {
            BARE: lambda: measure_bound(10, precision=None),
            JOB: lambda: _measure_job(folder / "objects", next(outputs)),
        }
        runs = interleave(cases, repeats=repeats)
    report = Report(
        name="feeding",
        title="How fast a job can feed GPUs: all of it but the network",
        columns=COLUMNS,
        settings={"images": images, "repeats": repeats},
    )
    report.add(runs)
    report.add_ratio("of_bare", JOB, "images_per_s", BARE, "images_per_s")
    report.add_ratio("cpu_of_bare", JOB, "cpu_ms", BARE, "cpu_ms")
    return [report]


def _link(photos: Path, objects: Path, count: int) -> None:
    objects.mkdir()
    paths = sorted(photos.iterdir())
    for number in range(count):
        os.link(paths[number % len(paths)], objects / f"{number:06d}.jpg")


def _measure_job(objects: Path, output: Path) -> Figures:
    program = [sys.executable, "-m", "tests.benchmarks.feeding_job", "TRACE"]
    return run_traced([*program, str(objects), str(output)]).steady_state(count_cores())
