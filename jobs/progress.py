"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from jobs.labelling.summary import Summary

_LINE_INTERVAL_S = 5.0


class JobProgress:
    """What a running job shows; a context manager.

    The rate counts from when a worker began its first chunk, so start-up does not blur it, and to
    the last chunk that was finished.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._total: int | None = None
        self._start_from(0)
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Figures(self),
            console=self._console,
            refresh_per_second=2,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def _start_from(self, done: int) -> None:
        self._base = self._done = done
        self._errors = 0
        self._seconds = {"waiting": 0.0, "model": 0.0, "write": 0.0}
        self._cpu_s = 0.0
        self._began_at = self._advanced_at = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def say(self, step: str) -> None:
        """Name what is being done now."""
        self._bar.update(self._task, description=step)
        if not self._console.is_terminal:
            self.note(step)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def resume(self, done: int, total: int) -> None:
        """Start from what an earlier run has done."""
        self._start_from(done)
        self._total = total
        if done:
            self.note(f"{done:,} of {total:,} images were done before; continuing")

    def advance(self, summary: Summary) -> None:
        """Count the objects of a chunk that is done."""
        self._advanced_at = time.monotonic()
        if not self._began_at:
            self._began_at = self._advanced_at - summary.seconds - summary.ahead_s
            self._bar.update(self._task, description="labelling")
        self._done += summary.objects
        self._seconds["waiting"] += summary.seconds - summary.model_s - summary.write_s
        self._seconds["model"] += summary.model_s
        self._seconds["write"] += summary.write_s
        self._cpu_s += summary.cpu_s
        self._errors += summary.errors
        self._total = summary.total or self._total
        self._bar.update(self._task, completed=self._done, total=self._total)
        if not self._console.is_terminal:
            self._line()

    @property
    def images_per_s(self) -> float | None:
        """Return the rate of this run, or None before its first chunk is done."""
        if self._done == self._base:
            return None
        return (self._done - self._base) / max(self._advanced_at - self._began_at, 1e-6)

    @property
    def actual(self) -> dict[str, Any]:
        """Return the rate, and what workers spent: CPU time, and shares of the time by the clock.

        They wait for images that are not fetched or decoded yet.
        """
        done, total = self._done - self._base, sum(self._seconds.values())
        return {
            "images_per_s": self.images_per_s,
            "cpu_s_per_image": round(self._cpu_s / done, 6) if done else None,
            "shares": {name: round(x / (total or 1), 3) for name, x in self._seconds.items()},
        }

    @property
    def is_complete(self) -> bool:
        """Whether all that was listed is done."""
        return self._done == self._total

    def figures(self) -> str:
        """Return images done, images/s, errors and time left."""
        of_total = f" of {self._total:,}" if self._total else ""
        parts = [f"{self._done:,}{of_total} images"]
        rate = self.images_per_s
        if rate:
            parts.append(f"{rate:.1f} images/s")
        parts.append(f"{self._errors:,} errors")
        if rate and self._total:
            parts.append(f"{_duration((self._total - self._done) / rate)} left")
        return " · ".join(parts)

    def _line(self) -> None:
        now = time.monotonic()
        if now - self._last_line >= _LINE_INTERVAL_S:
            self._last_line = now
            self.note(self.figures())


class _Figures(ProgressColumn):
    def __init__(self, progress: JobProgress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        figures = self._progress.figures() if task.completed else ""
        return Text(figures, no_wrap=True, overflow="ellipsis")


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"
