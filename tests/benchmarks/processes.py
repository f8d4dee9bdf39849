"""Whole trees of processes, and the CPU time that they take.

It repeats on shared machines where wall time does not. Orphans are adopted, so that none gets out
of sight.
"""

import contextlib
import ctypes
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Figures = dict[str, float]

_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What a process is, by its command line; the first that fits.
_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"ray::ServeReplica", "replica"),
        (r"ray::(Proxy|HAProxy)|\S*haproxy\b", "proxy"),
        (r"ray::(ServeController|Serve)", "controller"),
        (r"ray::\w*Agent|ray-dashboard", "agents"),
        (r"ray::MapWorker", "actor"),
        (r"ray::", "worker"),
        (r"\S*/raylet ", "raylet"),
        (r"\S*/gcs_server ", "gcs"),
        (r"\S*/weed ", "storage"),
        (r"\S*python\S* .*/ray/_private/workers/", "worker"),
        (r"\S*python\S* .*/ray/", "agents"),
        (r"\S*python\S* .*(-m (jobs|tests|ray)|labelmill)", "driver"),
    )
)


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
    """A moment of the monotonic clock.

    Attributes:
        at_s: when it was.
        cpu_s: what each process had used by then.
        peak_bytes: the largest resident size so far of a process of each kind.
    """

    at_s: float
    cpu_s: Mapping[ProcessKey, float]
    peak_bytes: Mapping[str, int]


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
    """

    def __init__(self, root: int | None = None) -> None:
        """Args: root: whose descendants, and itself too; by default this process, without it."""
        self._root = root
        self._cpu_s: dict[ProcessKey, float] = {}
        self._kinds: dict[ProcessKey, str] = {}
        self._running: set[ProcessKey] = set()
        self._zombies: set[ProcessKey] = set()
        self._peak_bytes: Counter[str] = Counter()

    def mark(self) -> Mark:
        """Look at all processes."""
        at_s = time.monotonic()
        self._look()
        return Mark(at_s, dict(self._cpu_s), dict(self._peak_bytes))

    def since(self, mark: Mark) -> Window:
        """Return what has been used since `mark`."""
        return self.between(mark, self.mark())

    def between(self, first: Mark, last: Mark) -> Window:
        """Return what was used between two marks."""
        by_kind: Counter[str] = Counter()
        for key, used in last.cpu_s.items():
            by_kind[self._kinds[key]] += used - first.cpu_s.get(key, 0.0)
        return Window(last.at_s - first.at_s, dict(by_kind))

    def first_started_s(self, kind: str) -> float:
        """Return when the first process of a kind was started, by the monotonic clock."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)  # which the kernel counts starts by
        ticks = min(key.started for key, found in self._kinds.items() if found == kind)
        return time.monotonic() - (now_s - ticks / _TICKS_PER_S)

    def is_running(self, since: Mark) -> bool:
        """Say whether any process that came after `since` was running at the last look."""
        return bool(self._running - since.cpu_s.keys())

    def kill(self, since: Mark) -> None:
        """Kill what came after `since`, as far as the last look saw it running."""
        for key in self._running - since.cpu_s.keys():
            with contextlib.suppress(ProcessLookupError):
                os.kill(key.pid, signal.SIGKILL)

    def reap(self, since: Mark, *, spare: int) -> None:
        """Take leave of adopted orphans that came after `since` and have ended.

        Else they would look alive to those who wait for their end.

        Args:
            since: what came before stays.
            spare: the pid of a child that somebody else waits for.
        """
        for key in self._zombies:
            if key not in since.cpu_s and key.pid != spare:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(key.pid, os.WNOHANG)

    def _look(self) -> None:
        stats = _read_stats()
        family = {self._root or os.getpid()}
        family |= {pid for pid, stat in stats.items() if stat.key(pid) in self._cpu_s}
        while more := {pid for pid, stat in stats.items() if stat.parent in family} - family:
            family |= more
        self._running, self._zombies = set(), set()
        for pid in (family & stats.keys()) - {os.getpid()}:
            key = stats[pid].key(pid)
            self._cpu_s[key] = stats[pid].ticks / _TICKS_PER_S
            if stats[pid].state not in "ZX":
                self._running.add(key)
            elif stats[pid].parent == os.getpid():
                self._zombies.add(key)
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
        if peak := peak_bytes(status):
            kind = self._kinds[key]
            self._peak_bytes[kind] = max(self._peak_bytes[kind], peak)


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


def peak_bytes(status: str) -> int:
    """Return the most that a process has taken, by its `/proc` status; 0 where it has ended."""
    peak = status.partition("VmHWM:")[2].split()[:1]
    return int(peak[0]) * 1024 if peak else 0


def kind_of(command_line: str) -> str:
    """Say what a process is: `driver`, `actor`, `raylet`, `proxy`, …, or `other`."""
    return next((kind for pattern, kind in _KINDS if pattern.match(command_line)), "other")
