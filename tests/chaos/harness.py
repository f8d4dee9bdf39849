"""Whole jobs as their users see them: started, watched, killed, and read back as Parquet.

Nothing of labelmill is imported here: a job is the command, its outcome the files that it leaves.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

LABELMILL = (sys.executable, "-m", "jobs")
RUN_LIMIT_S = 240.0  # Ray waits a minute for a worker that died while it started
# Ray's own workers end with their raylet. Its agents and monitors, which know nothing of the job,
# may take a minute to notice.
LEAVE_LIMIT_S = 60.0
SENTENCE_LIMIT_S = 60.0
SCORE_TOLERANCE = 1e-4
_BYSTANDERS = ("Agent",)

Reference = dict[str, dict[str, Any]]  # name of a file → what its row must say


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a job."""

    pid: int
    parent: int
    session: int
    title: str
    role: str  # driver, raylet, gcs_server, actor, worker or bystander


class Job:
    """One run of the command in a session of its own, which finds its processes again.

    A context manager: nothing of the run is left when the block is.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._started = time.monotonic()
        with log.open("wb") as file:
            self._driver = subprocess.Popen(
                [*LABELMILL, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            _kill(process.pid, signal.SIGKILL)
        self._driver.wait()

    @property
    def age_s(self) -> float:
        """Return the seconds since it was started."""
        return time.monotonic() - self._started

    @property
    def said(self) -> str:
        """Return what it has written to the terminal so far."""
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._driver.poll() is None

    def processes(self) -> list[Process]:
        """Return what runs in the session of the driver, by role and age."""
        driver = self._driver.pid
        family = [
            replace(process, role="driver") if process.pid == driver else process
            for process in all_processes()
            if process.session == driver
        ]
        return sorted(family, key=lambda process: (process.role, process.pid))

    def kill(self, process: Process, number: int = signal.SIGKILL) -> bool:
        """Send a signal; say whether the process was still there."""
        return _kill(process.pid, number)

    def wait(self, limit_s: float = RUN_LIMIT_S) -> int:
        """Wait for its end and return the exit code; it must leave nothing running."""
        try:
            code = self._driver.wait(max(limit_s - self.age_s, 0.1))
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the job still runs after {limit_s:.0f} s:\n{self.said}"
            ) from None
        self.wait_until_gone()
        return code

    def wait_until_gone(self) -> float:
        """Wait until none is left that could write; return how many seconds that took."""
        ended = time.monotonic()
        while left := [process for process in self.processes() if process.role != "bystander"]:
            waited = time.monotonic() - ended
            assert waited < LEAVE_LIMIT_S, f"still running {waited:.0f} s after the driver: {left}"
            time.sleep(0.1)
        return time.monotonic() - ended

    def wait_for(self, happened: Callable[[], object], limit_s: float = RUN_LIMIT_S) -> bool:
        """Wait until something has happened; False if the job ended before."""
        while not happened():
            if not self.running:
                return False
            assert self.age_s < limit_s, f"did not happen in {limit_s:.0f} s:\n{self.said}"
            time.sleep(0.03)
        return True


def all_processes() -> list[Process]:
    """Return every process of this machine that is running."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            title = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it ended meanwhile
            continue
        if state not in "ZX":
            pid = int(path.parent.name)
            found.append(Process(pid, int(parent), int(session), title, _role(title)))
    return found


def _role(title: str) -> str:
    for part, role in (("/gcs_server ", "gcs_server"), ("/raylet/raylet ", "raylet")):
        if part in title:
            return role
    if not title.startswith("ray::") or any(part in title for part in _BYSTANDERS):
        return "bystander"
    return "actor" if title.startswith("ray::MapWorker") else "worker"


def check_ending(job: Job, code: int, allowed: tuple[int, ...]) -> None:
    """Check the exit code, and that a failure is one sentence and no traceback."""
    said = job.said
    assert code in allowed, f"exit code {code}, not one of {allowed}:\n{said}"
    if code != -signal.SIGINT:  # that early Python was still loading itself
        assert "Traceback" not in said, said
    if code in (1, -signal.SIGKILL) and "checking" in said:
        deadline = time.monotonic() + SENTENCE_LIMIT_S  # where Ray has ended it, another says it
        while not job.said.strip().rpartition("\n")[2].startswith("labelmill: "):
            assert time.monotonic() < deadline, job.said
            time.sleep(0.05)


class LocalPlace:
    """A folder that a job writes to."""

    def __init__(self, root: Path) -> None:
        self.root, self.uri = root, str(root)

    def names(self) -> set[str]:
        """Return the files there, as paths relative to the output."""
        try:
            files = [path for path in self.root.rglob("*") if path.is_file()]
        except FileNotFoundError:  # a job that is being checked makes folders and removes them
            return set()
        return {str(path.relative_to(self.root)) for path in files}

    def copy(self, _: Path) -> Path:
        """Return a local folder with the same files: this one."""
        return self.root


class S3Place:
    """A prefix of a bucket that a job writes to."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self.uri = f"s3://{bucket}/{prefix}"

    def names(self) -> set[str]:
        """Return the objects there, as paths relative to the output."""
        pages = self._client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        keys = (item["Key"] for page in found for item in page.get("Contents", ()))
        return {key.removeprefix(f"{self._prefix}/") for key in keys}

    def copy(self, folder: Path) -> Path:
        """Return a local folder with the same files."""
        for name in self.names():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            key = f"{self._prefix}/{name}"
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            path.write_bytes(body.read())
        return folder


Place = LocalPlace | S3Place


def has_chunk(place: Place) -> bool:
    """Say whether the rows of a chunk have been written."""
    return any(name.startswith("_labelmill/chunks/") for name in place.names())


def read_rows(folder: Path) -> Reference:
    """Read a dataset as name → row; every object must be there once.

    The name of an object is what follows `/photos/` in its uri.
    """
    table = pd.read_parquet(folder)
    repeated = table["uri"][table["uri"].duplicated()].tolist()
    assert not repeated, f"more than one row: {repeated}"
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    return {row["uri"].rpartition("/photos/")[2]: row for row in rows}


def check_dataset(place: Place, scratch: Path, reference: Reference) -> None:
    """Check a finished dataset: the marks, the accounts, and every row against the reference."""
    names = place.names()
    assert "_SUCCESS" in names
    assert not any("/chunks/" in name or name.endswith(".tmp") for name in names), names
    folder = place.copy(scratch)
    rows = read_rows(folder)
    assert rows.keys() == reference.keys(), rows.keys() ^ reference.keys()
    different = {name: row for name, row in rows.items() if not agrees(row, reference[name])}
    assert not different, f"rows that the reference does not have: {different}"
    kinds = Counter(row["error_kind"] for row in rows.values() if row["outcome"] == "error")
    record = json.loads((folder / "_labelmill" / "job.json").read_text())
    recomputed = {
        "listed": len(rows),
        "ok": len(rows) - kinds.total(),
        "error": kinds.total(),
        "errors": dict(kinds),
    }
    assert recomputed.items() <= record["counts"].items(), (recomputed, record["counts"])


def agrees(row: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Say whether a row has the labels, scores and error kind that it should have."""
    told = ("outcome", "label", "error_kind", "width", "height")
    if any(row.get(name) != expected[name] for name in told):
        return False
    if row["outcome"] == "error":
        return True
    scores, wanted = ([label["score"] for label in it["labels"]] for it in (row, expected))
    return bool(np.allclose(scores, wanted, rtol=0, atol=SCORE_TOLERANCE))


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
