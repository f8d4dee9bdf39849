"""Memory of a job over more and more objects: it may not grow with their number.

    python -m tests.benchmarks.memory [--sizes 1000 10000 100000] [--json PATH]

The objects are files of a few bytes that are no images, an error row each, so that a hundred
thousand take minutes; every 500th is a real JPEG, so that the network works as well. The pool has
one actor, so that the figures are of one process.

Of the driver and of every `ray::` process the peak is what the kernel kept (VmHWM in /proc), and
the figure for the actors is that of the largest. What a further object costs is the difference
between two sizes, divided by the objects between. The first of them still contains what any job
needs in its first hundred chunks, so the last line is the one that counts.

The commit of a small job runs in the driver, and takes up to a row group or two; hence it has a
column of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.images import encode, photo

TARGET_BYTES = 200  # of the driver while it labels, for each further object
IMAGE_EVERY = 500
FILES_PER_FOLDER = 1000
JOB_TIMEOUT_S = 1800
SAMPLE_S = 0.25
COMMIT = "writing the dataset"  # what the command says when the labelling is over

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    arguments = parser.parse_args()
    runs: list[Figures] = []
    print(f"target: at most {TARGET_BYTES} bytes of the driver per object, actors flat\n")
    print(
        "| objects | driver while labelling, MB | per further object, bytes "
        "| driver with the commit, MB | actor, MB | seconds |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="labelmill-memory-") as folder:
        files = Path(folder) / "objects"
        for size in sorted(arguments.sizes):
            make_files(files, size)
            runs.append(measure(files, Path(folder) / f"out-{size}", size))
            print(to_row(runs), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=2))


def to_row(runs: list[Figures]) -> str:
    """Format the last run, and how it differs from the one before."""
    now = runs[-1]
    growth = "-"
    if len(runs) > 1:
        growth = f"{bytes_per_object(runs[-2], now):,.0f}"
    driver, commit, actor = (now[f"{role}_bytes"] / 1e6 for role in ("driver", "commit", "actor"))
    return (
        f"| {now['objects']:,.0f} | {driver:,.0f} | {growth} "
        f"| {commit:,.0f} | {actor:,.0f} | {now['seconds']:,.0f} |"
    )


def bytes_per_object(smaller: Figures, larger: Figures) -> float:
    """Return what each further object has cost the driver."""
    grown = larger["driver_bytes"] - smaller["driver_bytes"]
    return grown / (larger["objects"] - smaller["objects"])


def make_files(folder: Path, count: int) -> None:
    """Bring the folder to so many files."""
    image = encode(photo(160, 120), "JPEG")
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:08d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image if number % IMAGE_EVERY == 0 else b"no image")


def measure(files: Path, output: Path, objects: int) -> Figures:
    """Run a job and return the peaks of its processes.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "jobs", "label", str(files), str(output), "--json"]
    command += ["--weights", "untrained", "--actors", "1:1", "--max-error-rate", "1"]
    peaks: dict[str, int] = defaultdict(int)
    started = time.monotonic()
    log = output.with_suffix(".log")
    with log.open("wb") as said:
        job = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
    while job.poll() is None:
        figures = sample(job.pid)
        committing = COMMIT in log.read_text()  # after the sample: it counts as the commit's
        for role, peak in figures:
            name = "commit" if role == "driver" and committing else role
            peaks[name] = max(peaks[name], peak)
        if time.monotonic() - started > JOB_TIMEOUT_S:
            job.terminate()
        time.sleep(SAMPLE_S)
    if job.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()}")
    record: dict[str, Any] = json.loads(job.communicate()[0])
    assert record["counts"]["listed"] == objects
    return {
        "objects": objects,
        "seconds": time.monotonic() - started,
        **{f"{role}_bytes": peaks[role] for role in ("driver", "commit", "actor", "worker")},
    }


def sample(session: int) -> list[tuple[str, int]]:
    """Return role and peak bytes of the processes of a session, which the driver leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            title = (path / "cmdline").read_bytes()
            status = (path / "status").read_text()
        except OSError:  # it ended meanwhile
            continue
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 if "VmHWM:" in status else 0
        if int(path.name) == session:
            found.append(("driver", peak))
        elif title.startswith(b"ray::"):
            found.append(("actor" if title.startswith(b"ray::MapWorker") else "worker", peak))
    return found


if __name__ == "__main__":
    main()
