"""How long until there is something: one image, the first row, the first row after a kill.

The machine is warm: the network is converted, and files are in memory. The steps of the one-image
job come from its trace and from when Ray's processes were born.
"""

import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Figures, Report, interleave
from tests.benchmarks.images import write_photos
from tests.benchmarks.runs import Run, label_command, run_traced

IMAGES = 256
COLUMNS = {
    "total_s": "seconds in all",
    "import_s": "start and import",
    "check_s": "checks",
    "ray_s": "Ray's start",
    "worker_s": "worker's start, model",
    "label_s": "fetch, decode, label, write",
    "commit_s": "commit",
    "end_s": "Ray's end, exit",
    "cpu_s": "CPU seconds in all",
}


def measure(*, quick: bool) -> list[Report]:
    """Return the table of one-image jobs, of first rows and of resumed jobs."""
    repeats = 1 if quick else 3
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(prefix="labelmill-startup-") as name:
        folder = Path(name)
        one = write_photos(folder / "one", 1)
        many = write_photos(folder / "many", IMAGES)

        def new_output() -> str:
            return str(folder / f"out-{next(numbers)}")

        cases: dict[str, Callable[[], Figures]] = {
            "one image": lambda: _label_one(str(one), new_output()),
            f"the first rows of {IMAGES} images": lambda: _first_rows(str(many), new_output()),
            "the first new rows after a kill": lambda: _resume(str(many), new_output()),
        }
        runs = interleave(cases, repeats=repeats, warmups=0 if quick else 1)
    title = "Start-up on a warm machine, in seconds"
    report = Report(name="startup", title=title, columns=COLUMNS, settings={"repeats": repeats})
    report.add(runs)
    return [report]


def _label_one(source: str, output: str) -> Figures:
    run = run_traced(label_command(source, output))
    record: dict[str, Any] = json.loads(run.stdout)
    commit_s = record["timings"]["commit_s"]
    committed_s = run.trace.steps["writing the dataset"] + commit_s
    return {
        "total_s": run.ended_s - run.began_s,
        **_until_rows(run),
        "commit_s": commit_s,
        "end_s": run.ended_s - committed_s,
        "cpu_s": run.cpu_s,
    }


def _until_rows(run: Run) -> Figures:
    """Return the steps until the rows of the first chunk are written."""
    moments = (
        run.began_s,
        run.trace.steps["checking"],
        run.tree.first_started_s("gcs"),
        run.trace.steps["starting workers"],
        run.trace.batches[0].began_s,
        run.trace.batches[0].ended_s,
    )
    spans = [end - start for start, end in itertools.pairwise(moments)]
    return dict(zip(("import_s", "check_s", "ray_s", "worker_s", "label_s"), spans, strict=True))


def _first_rows(source: str, output: str) -> Figures:
    """Measure until the rows of the first chunk are written."""
    run = run_traced(label_command(source, output), until=lambda trace: bool(trace.batches))
    return {"total_s": run.trace.batches[0].ended_s - run.began_s, **_until_rows(run)}


def _resume(source: str, output: str) -> Figures:
    """Kill a job after some chunks, and measure the same command until it has a new one."""
    run_traced(label_command(source, output), until=lambda trace: len(trace.batches) > 1)
    return _first_rows(source, output)
