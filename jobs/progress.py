"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

import math
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from jobs.labelling.summary import Summary
from jobs.tallies import say_not_images

_LINE_INTERVAL_S = 5.0


class JobProgress:
    """What a running job shows; a context manager.

    The rate counts from when a worker began its first chunk, so start-up does not blur it, and to
    the last chunk that was finished.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._start_from(0, None)
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn(
                "{task.fields[figures]}",
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console,
            refresh_per_second=2,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, figures="")

    def _start_from(self, done: int, total: int | None) -> None:
        self._base = done
        self._sum = Summary(total=total)  # of this run
        self._began_at = self._advanced_at = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
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
        self._start_from(done, total)
        if done:
            self.note(f"{done:,} of {total:,} images were done before; continuing")

    def advance(self, summary: Summary) -> None:
        """Count the objects of a chunk that is done."""
        self._advanced_at = now = time.monotonic()
        if not self._began_at:
            self._began_at = now - summary.seconds - summary.ahead_s
            self._bar.update(self._task, description="labelling")
        self._sum += summary
        figures = self.figures()
        self._bar.update(self._task, completed=self._done, total=self._sum.total, figures=figures)
        if not self._console.is_terminal and now - self._last_line >= _LINE_INTERVAL_S:
            self._last_line = now
            self.note(figures)

    @property
    def _done(self) -> int:
        return self._base + self._sum.objects

    @property
    def images_per_s(self) -> float | None:
        """Return the rate of this run, or None before its first chunk is done."""
        if not self._sum.objects:
            return None
        return self._sum.objects / max(self._advanced_at - self._began_at, 1e-6)

    @property
    def actual(self) -> dict[str, Any]:
        """Return the rate, and what workers spent: CPU time, and shares of the time by the clock.

        They wait for images that are not fetched or decoded yet.
        """
        spent = self._sum
        waiting = spent.seconds - spent.model_s - spent.write_s
        seconds = {"waiting": waiting, "model": spent.model_s, "write": spent.write_s}
        return {
            "images_per_s": self.images_per_s,
            "cpu_s_per_image": round(spent.cpu_s / spent.objects, 6) if spent.objects else None,
            "shares": {name: round(x / (spent.seconds or 1), 3) for name, x in seconds.items()},
        }

    @property
    def is_complete(self) -> bool:
        """Whether all that was listed is done."""
        return self._done == self._sum.total

    def figures(self) -> str:
        """Return images done, images/s, errors, what was no image, and time left."""
        rate, total, others = self.images_per_s, self._sum.total, self._sum.not_images
        errors = self._sum.errors - others
        parts = [f"{self._done:,}{f' of {total:,}' if total else ''} images"]
        if rate:
            parts.append(f"{rate:.1f} images/s")
        parts.append(f"{errors:,} error{'' if errors == 1 else 's'}")
        if others:
            parts.append(say_not_images(others))
        if rate and total:
            parts.append(f"{to_duration((total - self._done) / rate)} left")
        return " · ".join(parts)


def to_duration(seconds: float) -> str:
    """Round a time as far as a forecast is right: '40 s', '12 min', '3 h 20 min', '5 days 3 h'."""
    if seconds < 90:
        return f"{math.ceil(seconds / 5) * 5} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 10 * 60:
        return _joined(*divmod(round(minutes / 5) * 5, 60), "h", "min")
    return f"{hours} h" if hours < 48 else _joined(*divmod(hours, 24), "days", "h")


def _joined(large: int, small: int, large_unit: str, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")
