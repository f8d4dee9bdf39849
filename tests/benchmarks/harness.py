"""The one harness of all benchmarks: who is measured, in which order, and how it is reported.

- `interleave` runs A, B, C, … in turn, round after round, so that noise hits all alike.
- `Report` keeps every run, and gives medians, ratios, a Markdown table and JSON.
"""

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import Figures, adopt_orphans

_PACKAGES = ("labelmill", "numpy", "openvino", "ray", "simplejpeg", "torch", "torchvision")


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
