"""Memory of a job over more and more objects: it may not grow with their number.

The objects are files of a few bytes that are no images, an error row each, so that a hundred
thousand take minutes; every 500th is a real JPEG, so that the network works as well. The pool has
one actor, so that the figures are of one process.

Of the driver and of the actor the peak is what the kernel kept (VmHWM). What a further object costs
is the difference between two sizes, divided by the objects between. The first of them still
contains what any job needs in its first hundred chunks, so the last line is the one that counts.
The commit of a small job runs in the driver, and takes up to a row group or two; hence it has a
column of its own.
"""

import itertools
import json
import tempfile
from pathlib import Path

from tests.benchmarks.harness import Figures, Report
from tests.benchmarks.runs import Run, label_command, run_traced
from tests.support.images import encode, photo

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (500, 2_000)
IMAGE_EVERY = 500
FILES_PER_FOLDER = 1000
COLUMNS = {
    "driver_mb": "driver while labelling, MB",
    "bytes_per_object": "per further object, bytes",
    "commit_mb": "driver with the commit, MB",
    "actor_mb": "actor, MB",
    "seconds": "seconds",
}


def measure(*, quick: bool) -> list[Report]:
    sizes = QUICK_SIZES if quick else SIZES
    runs: dict[int, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="labelmill-memory-") as name:
        files = Path(name) / "objects"
        for size in sizes:
            _make_files(files, size)
            runs[size] = _measure(files, Path(name) / f"out-{size}", size)
    for smaller, larger in itertools.pairwise(sizes):
        grown_mb = runs[larger]["driver_mb"] - runs[smaller]["driver_mb"]
        runs[larger]["bytes_per_object"] = grown_mb * 1e6 / (larger - smaller)
    report = Report(name="memory", title="Peak memory of a job", columns=COLUMNS)
    report.add({f"{size:,} objects": [figures] for size, figures in runs.items()})
    return [report]


def _make_files(folder: Path, count: int) -> None:
    """Bring the folder to so many files."""
    image = encode(photo(160, 120), "JPEG")
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:08d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image if number % IMAGE_EVERY == 0 else b"no image")


def _measure(files: Path, output: Path, objects: int) -> Figures:
    options = ("--actors", "1:1", "--max-error-rate", "1")
    run = run_traced(label_command(str(files), str(output), *options))
    assert json.loads(run.stdout)["counts"]["listed"] == objects
    return {
        "driver_mb": _peak_mb(run, "driver", until_s=run.trace.steps["writing the dataset"]),
        "commit_mb": _peak_mb(run, "driver"),
        "actor_mb": _peak_mb(run, "actor"),
        "seconds": run.ended_s - run.began_s,
    }


def _peak_mb(run: Run, kind: str, until_s: float = float("inf")) -> float:
    mark = [mark for mark in run.marks if mark.at_s <= until_s][-1]
    return mark.peak_bytes[kind] / 1e6
