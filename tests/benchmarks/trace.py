"""What a run did when, and what its steady state was.

Whoever labels writes a line for each step and for each batch or chunk that is done; the harness
notes meanwhile what every process has used. From when all lanes (actors) are at work and warm until
the first has nothing left, the job is in its steady state: start-up, tail and commit are outside.

Only the standard library is needed, so that others' pipelines, in environments of their own, write
traces as well.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Tracer:
    """Appends lines to a trace; several processes may write to one."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._last_s = time.monotonic()

    def step(self, name: str) -> None:
        """Note that a step begins."""
        self._write({"step": name})

    def batch(
        self, objects: int, seconds: float | None = None, compute_s: float | None = None
    ) -> None:
        """Note that a batch is done.

        Args:
            objects: that it had.
            seconds: since it began; by default since the one before was done.
            compute_s: CPU seconds that decoding and the network have used for it, if known.
        """
        now = time.monotonic()
        seconds = now - self._last_s if seconds is None else seconds
        self._write({"objects": objects, "seconds": seconds, "compute_s": compute_s})
        self._last_s = now

    def _write(self, facts: dict[str, Any]) -> None:
        line = json.dumps({"at_s": time.monotonic(), **facts}) + "\n"
        with self._path.open("a") as file:
            file.write(line)


def let_workers_import_tests() -> None:
    """Put the repository on the path of the processes that a Ray of ours starts from now on."""
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some objects that were labelled together, between two moments of the monotonic clock.

    `compute_s` are the CPU seconds of decoding and the network, where they are known.
    """

    began_s: float
    ended_s: float
    objects: int
    compute_s: float | None = None

    def objects_within(self, start_s: float, end_s: float) -> float:
        """Return its share of objects that fall into a span, as if they came evenly."""
        overlap = min(self.ended_s, end_s) - max(self.began_s, start_s)
        return self.objects * max(overlap, 0.0) / max(self.ended_s - self.began_s, 1e-9)


@dataclass(frozen=True, slots=True)
class Trace:
    """Step → when it began; and all batches, in the order in which they were done."""

    steps: dict[str, float]
    batches: list[Batch]

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Read what tracers have written so far."""
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return cls(
            {line["step"]: line["at_s"] for line in reversed(lines) if "step" in line},
            [
                Batch(
                    began_s=line["at_s"] - line["seconds"],
                    ended_s=line["at_s"],
                    objects=line["objects"],
                    compute_s=line["compute_s"],
                )
                for line in lines
                if "objects" in line
            ],
        )

    def steady_span(self, lanes: int) -> tuple[float, float]:
        """Return from when to when all lanes were at work and warm: each has done a batch.

        Raises:
            ValueError: there are too few batches.
        """
        full = [batch for batch in self.batches if self._under_way(batch.began_s) >= lanes]
        if full:
            warm_s = sorted(batch.ended_s for batch in self.batches)[lanes - 1]
            start_s = max(warm_s, min(batch.began_s for batch in full))
            end_s = max(batch.ended_s for batch in self.batches if self._all_until(batch, lanes))
            if start_s < end_s:
                return start_s, end_s
        raise ValueError(
            f"{len(self.batches)} batches in {lanes} lanes have no steady state; label more images"
        )

    def _under_way(self, moment_s: float) -> int:
        return sum(batch.began_s <= moment_s < batch.ended_s for batch in self.batches)

    def _all_until(self, last: Batch, lanes: int) -> bool:
        """Say whether so many batches were under way just before one was done."""
        others = (x for x in self.batches if x.began_s < last.ended_s <= x.ended_s)
        return sum(1 for _ in others) >= lanes

    def objects_within(self, start_s: float, end_s: float) -> float:
        """Return how many objects were labelled in a span."""
        return sum(batch.objects_within(start_s, end_s) for batch in self.batches)

    def compute_s(self, start_s: float, end_s: float) -> float | None:
        """Return the CPU seconds of decoding and the network per object; None where not noted."""
        known = [
            (batch.compute_s, batch.objects)
            for batch in self.batches
            if batch.compute_s is not None and start_s < batch.ended_s <= end_s
        ]
        return sum(x for x, _ in known) / sum(x for _, x in known) if known else None
