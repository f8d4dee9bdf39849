"""The one harness of all benchmarks: who is measured, in which order, and how it is reported.

- `interleave` runs A, B, C, … in turn, round after round, so that noise hits all alike.
- `ProcessTree` counts the CPU time of whole trees of processes, which repeats on shared machines
  where wall time does not; orphans are adopted, so that none gets out of sight.
- `Report` keeps every run, and gives medians, ratios, a Markdown table and JSON.
"""

import ctypes
import json
import os
import platform
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

Figures = dict[str, float]

_PACKAGES = ("labelmill", "numpy", "openvino", "ray", "simplejpeg", "torch", "torchvision")
_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What a process is, by its command line; the first that fits.
_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"ray::ServeReplica", "replica"),
        (r"ray::(Proxy|HAProxy)|\S*haproxy\b", "proxy"),
        (r"ray::(ServeController|Serve)", "controller"),
        (r"ray::MapWorker", "actor"),
        (r"ray::", "worker"),
        (r"\S*/raylet ", "raylet"),
        (r"\S*/gcs_server ", "gcs"),
        (r"\S*/weed ", "storage"),
        (r"\S*python\S* .*/ray/_private/workers/", "worker"),
        (r"ray-dashboard|ray_|\S*python\S* .*/ray/", "agents"),
        (r"\S*python\S* .*(-m jobs|labelmill|traced_job)", "driver"),
    )
)


def prepare_process() -> None:
    """Make this process one that measures; call it before torch is imported.

    OpenMP threads then sleep rather than spin when they wait, which on a busy machine would double
    the CPU time of whoever uses them, and flatter the others. numpy has one thread. Orphans become
    children of ours.
    """
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
    if not wanted.items() <= os.environ.items():  # libraries read them when they are loaded
        os.environ.update(wanted)
        os.execv(sys.executable, sys.orig_argv)
    adopt_orphans()


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class ProcessKey(NamedTuple):
    """A process; the kernel uses pids again, but not with the same start."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: what each process had used by then."""

    at_s: float
    cpu_s: Mapping[ProcessKey, float]


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two moments.

    Attributes:
        wall_s: that passed.
        by_kind: CPU seconds of each kind of process.
    """

    wall_s: float
    by_kind: Figures

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds of all together."""
        return sum(self.by_kind.values())


class ProcessTree:
    """The descendants of a process, those that have ended meanwhile included.

    A process is seen when a method is called, so whoever wants the short-lived ones counted calls
    `mark` now and then. One that was seen stays in the tree when its parent ends.

    Attributes:
        peak_bytes: the largest resident size of a process of each kind, as far as seen.
    """

    def __init__(self, root: int | None = None) -> None:
        """Args: root: whose descendants, and itself too; by default this process, without it."""
        self._root = root
        self._cpu_s: dict[ProcessKey, float] = {}
        self._kinds: dict[ProcessKey, str] = {}
        self._running: set[ProcessKey] = set()
        self.peak_bytes: Counter[str] = Counter()

    def mark(self) -> Mark:
        """Look at all processes."""
        self._look()
        return Mark(time.monotonic(), dict(self._cpu_s))

    def since(self, mark: Mark) -> Window:
        """Return what has been used since `mark`."""
        return self.between(mark, self.mark())

    def between(self, first: Mark, last: Mark) -> Window:
        """Return what was used between two marks."""
        by_kind: Counter[str] = Counter()
        for key, used in last.cpu_s.items():
            by_kind[self._kinds[key]] += used - first.cpu_s.get(key, 0.0)
        return Window(last.at_s - first.at_s, dict(by_kind))

    def is_running(self, since: Mark) -> bool:
        """Say whether any process that came after `since` was running at the last look."""
        return any(key not in since.cpu_s for key in self._running)

    def _look(self) -> None:
        stats = _read_stats()
        family = {self._root or os.getpid()}
        family |= {pid for pid, stat in stats.items() if stat.key(pid) in self._cpu_s}
        while more := {pid for pid, stat in stats.items() if stat.parent in family} - family:
            family |= more
        self._running = set()
        for pid in (family & stats.keys()) - {os.getpid()}:
            key = stats[pid].key(pid)
            self._cpu_s[key] = stats[pid].ticks / _TICKS_PER_S
            if stats[pid].state not in "ZX":
                self._running.add(key)
            self._describe(key)

    def _describe(self, key: ProcessKey) -> None:
        """Note kind and peak; a process that has ended has no command line any more."""
        folder = Path(f"/proc/{key.pid}")
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = (folder / "status").read_text()
        except OSError:  # it ended meanwhile
            line = status = ""
        if line.strip() or key not in self._kinds:
            self._kinds[key] = kind_of(line)
        if peak := status.partition("VmHWM:")[2].split()[:1]:
            kind = self._kinds[key]
            self.peak_bytes[kind] = max(self.peak_bytes[kind], int(peak[0]) * 1024)


class _Stat(NamedTuple):
    state: str
    parent: int
    ticks: int
    started: int

    def key(self, pid: int) -> ProcessKey:
        return ProcessKey(pid, self.started)


def _read_stats() -> dict[int, _Stat]:
    """Read what the kernel says of every process of this machine."""
    stats = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        ticks = int(fields[11]) + int(fields[12])
        stats[int(name)] = _Stat(fields[0], int(fields[1]), ticks, int(fields[19]))
    return stats


def kind_of(command_line: str) -> str:
    """Say what a process is: `driver`, `actor`, `raylet`, `proxy`, …, or `other`."""
    return next((kind for pattern, kind in _KINDS if pattern.match(command_line)), "other")


def measure_cpu(function: Callable[[Any], Any], items: list[Any]) -> Figures:
    """Call `function` on each item: CPU ms (all threads of this process) and wall ms of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for item in items:
        function(item)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_ms": cpu / len(items) * 1000, "wall_ms": wall / len(items) * 1000}


def interleave(
    cases: Mapping[str, Callable[[], Figures]], *, repeats: int, warmups: int = 0
) -> dict[str, list[Figures]]:
    """Run every case once a round; every other round runs backwards, so that drift cancels out.

    Args:
        cases: name → what measures it once.
        repeats: rounds that count.
        warmups: rounds before them that do not.

    Returns:
        name → what each round that counts gave.
    """
    runs: dict[str, list[Figures]] = {name: [] for name in cases}
    for number in range(-warmups, repeats):
        for name in cases if number % 2 == 0 else reversed(cases):
            figures = cases[name]()
            if number >= 0:
                runs[name].append(figures)
    return runs


@dataclass(kw_only=True)
class Report:
    """What a benchmark found.

    Attributes:
        name: of the benchmark.
        title: a sentence above its table.
        columns: figure → its heading, with the unit.
        rows: what was measured → figure → every run.
        notes: sentences below the table.
        settings: counts and choices that the figures depend on.
    """

    name: str
    title: str
    columns: dict[str, str]
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def add(self, runs: Mapping[str, list[Figures]]) -> None:
        """Add rows, or figures to rows, from what `interleave` returned."""
        for name, figures in runs.items():
            row = self.rows.setdefault(name, {})
            for key in dict.fromkeys(key for run in figures for key in run):
                row[key] = [run[key] for run in figures if key in run]

    def add_ratio(self, key: str, row: str, figure: str, over: str, over_figure: str) -> None:
        """Add to `row` its figure divided by another row's, round by round."""
        pairs = zip(self.rows[row][figure], self.rows[over][over_figure], strict=True)
        self.rows[row][key] = [value / other for value, other in pairs]

    def median(self, row: str, figure: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.rows[row][figure])

    def to_markdown(self) -> str:
        """Return the table of medians; runs apart are given as smallest to largest."""
        lines = [f"### {self.title}", "", "| | " + " | ".join(self.columns.values()) + " |"]
        lines.append("|---|" + "---:|" * len(self.columns))
        for name, figures in self.rows.items():
            cells = [_to_cell(figures.get(key, [])) for key in self.columns]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Return everything, with medians, the machine and the date."""
        medians = {
            name: {key: statistics.median(runs) for key, runs in figures.items() if runs}
            for name, figures in self.rows.items()
        }
        return {
            "title": self.title,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine(),
            "settings": self.settings,
            "columns": self.columns,
            "medians": medians,
            "runs": self.rows,
            "notes": self.notes,
        }


def write_reports(path: Path, reports: list[Report]) -> None:
    """Write reports as JSON, in place of earlier ones of the same name; others stay."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {report.name: report.to_json() for report in reports}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def describe_machine() -> dict[str, Any]:
    """Return what figures depend on: processor, cores, memory, load, versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def format_figure(value: float) -> str:
    """Format with three significant digits or so."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _to_cell(runs: list[float]) -> str:
    if not runs:
        return ""
    text = format_figure(statistics.median(runs))
    low, high = format_figure(min(runs)), format_figure(max(runs))
    return text if low == high else f"{text} ({low} to {high})"
