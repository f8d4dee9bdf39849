"""Runs of commands that write traces, and what they have cost: in all, and in steady state."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.harness import Figures
from tests.benchmarks.processes import Mark, ProcessTree
from tests.benchmarks.trace import Trace

_SAMPLE_S = 0.2
_TIMEOUT_S = 1800
_ON_CPUS = ("--num-gpus", "0", "--weights", "untrained")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a command, from its start until the last of its processes has ended.

    Attributes:
        tree: what it consisted of.
        marks: of the tree, some five a second.
        trace: what the command wrote of itself.
        ended_s: when the command itself had ended, by the monotonic clock.
        stdout: what it printed.
    """

    tree: ProcessTree
    marks: list[Mark]
    trace: Trace
    ended_s: float
    stdout: str

    @property
    def began_s(self) -> float:
        """Return when it was started, by the monotonic clock."""
        return self.marks[0].at_s

    @property
    def cpu_s(self) -> float:
        """Return what all of its processes have used."""
        return self.tree.between(self.marks[0], self.marks[-1]).cpu_s

    def steady_state(self, lanes: int) -> Figures:
        """Return images/s and CPU ms per image, in all and by kind of process.

        Storage that runs on this machine is a kind of its own, and not part of `cpu_ms`. What of
        it is for decoding and the network, `compute_cpu_ms`, is there if the run notes it.

        Raises:
            ValueError: there were too few batches for a steady state.
        """
        start_s, end_s = self.trace.steady_span(lanes)
        marks = [mark for mark in self.marks if start_s <= mark.at_s <= end_s]
        window = self.tree.between(marks[0], marks[-1])
        images = self.trace.objects_within(marks[0].at_s, marks[-1].at_s)
        by_kind = {kind: used_s / images * 1000 for kind, used_s in window.by_kind.items()}
        compute_s = self.trace.compute_s(start_s, end_s)
        return {
            "images_per_s": images / window.wall_s,
            **({} if compute_s is None else {"compute_cpu_ms": compute_s * 1000}),
            "cpu_ms": sum(used for kind, used in by_kind.items() if kind != "storage"),
            **{f"{kind}_cpu_ms": used for kind, used in by_kind.items()},
        }


def run_traced(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    until: Callable[[Trace], bool] = lambda _: False,
) -> Run:
    """Run a command, in which `TRACE` stands for the path of its trace.

    Args:
        command: what to run.
        environment: its whole environment; by default ours.
        until: once it says so, all processes are killed, as when a container is (SIGKILL).

    Raises:
        RuntimeError: it failed.
        TimeoutError: it still runs after half an hour.
    """
    with tempfile.TemporaryDirectory(prefix="labelmill-run-") as folder:
        path, log = Path(folder, "trace"), Path(folder, "log")
        path.touch()
        words = [str(path) if word == "TRACE" else word for word in command]
        tree = ProcessTree()
        marks = [tree.mark()]
        with (
            log.open("wb") as said,
            subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=said, env=environment, text=True
            ) as process,
        ):
            ended_s, killed = _watch(process, tree, marks, lambda: until(Trace.read(path)))
            stdout = process.communicate()[0]
        if process.returncode and not killed:
            raise RuntimeError(f"{' '.join(words)} failed: {stdout}\n{log.read_text()[-3000:]}")
        trace = Trace.read(path)
        return Run(tree=tree, marks=marks, trace=trace, ended_s=ended_s, stdout=stdout)


def _watch(
    process: "subprocess.Popen[str]",
    tree: ProcessTree,
    marks: list[Mark],
    has_to_die: Callable[[], bool],
) -> tuple[float, bool]:
    """Mark until all that came since the first mark has ended.

    Returns:
        When the process had ended, and whether it was killed.
    """
    ended_s, killed = 0.0, False
    while not ended_s or tree.is_running(marks[0]):
        time.sleep(_SAMPLE_S)
        marks.append(tree.mark())
        tree.reap(marks[0], spare=process.pid)
        if not ended_s and process.poll() is not None:
            ended_s = time.monotonic()
        if killed := killed or (not ended_s and has_to_die()):
            tree.kill(marks[0])
        if marks[-1].at_s - marks[0].at_s > _TIMEOUT_S:
            process.terminate()
            raise TimeoutError(f"{process.args} still runs after {_TIMEOUT_S} s")
    tree.mark()
    tree.reap(marks[0], spare=process.pid)  # what its parents have left behind last
    return ended_s, killed


def label_command(source: str, output: str, *options: str) -> list[str]:
    """Return the command that labels on CPUs, with an untrained model: its labels cost the same."""
    program = [sys.executable, "-m", "tests.benchmarks.traced_job", "TRACE"]
    return [*program, "label", source, output, "--json", *_ON_CPUS, *options]
