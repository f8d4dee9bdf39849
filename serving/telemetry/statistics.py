"""The protocol's statistics of each model, as plain numbers that add up over replicas.

`Totals` maps model and version (`name/version`) to counters; durations are nanoseconds.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

Totals = dict[str, Counter[str]]

_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_LAST = "last_inference_ms"  # the only one that is not a sum


@dataclass(slots=True)
class Statistics:
    """The totals of one process."""

    totals: Totals = field(default_factory=dict)

    def record_success(
        self, name: str, version: str, images: int, took_s: dict[str, float], now_s: float
    ) -> None:
        """Count an answered request; `took_s` is kind → seconds, of several images the longest."""
        counter = self._counter(name, version)
        counter["inference_count"] += images
        counter[_LAST] = max(counter[_LAST], int(now_s * 1000))
        for kind in set(_DURATIONS) - {"fail"}:
            _add_duration(counter, kind, took_s.get(kind, 0))

    def record_failure(self, name: str, version: str, seconds: float) -> None:
        """Count a request that was not answered."""
        _add_duration(self._counter(name, version), "fail", seconds)

    def record_execution(self, name: str, version: str, batch_size: int, seconds: float) -> None:
        """Count one forward pass."""
        counter = self._counter(name, version)
        counter["execution_count"] += 1
        _add_duration(counter, f"batch.{batch_size}", seconds)

    def _counter(self, name: str, version: str) -> Counter[str]:
        return self.totals.setdefault(f"{name}/{version}", Counter())


def add_up(many: Iterable[Totals]) -> Totals:
    """Return the sums of the totals of several processes."""
    sums: Totals = {}
    for model, counter in chain.from_iterable(totals.items() for totals in many):
        known = sums.setdefault(model, Counter())
        last = max(known[_LAST], counter[_LAST])
        known.update(counter)
        known[_LAST] = last
    return sums


def to_protocol(totals: Totals, models: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the statistics of `models`, pairs of name and version, as the protocol's JSON."""
    return {"model_stats": [_model_stats(totals, *model) for model in models]}


def _model_stats(totals: Totals, name: str, version: str) -> dict[str, Any]:
    counter = totals.get(f"{name}/{version}", Counter())
    sizes = sorted({int(key.split(".")[1]) for key in counter if key.startswith("batch.")})
    return {
        "name": name,
        "version": version,
        "last_inference": counter[_LAST],
        "inference_count": counter["inference_count"],
        "execution_count": counter["execution_count"],
        "inference_stats": {kind: _duration(counter, kind) for kind in _DURATIONS},
        "batch_stats": [
            {"batch_size": size, "compute_infer": _duration(counter, f"batch.{size}")}
            for size in sizes
        ],
    }


def _duration(counter: Counter[str], kind: str) -> dict[str, int]:
    return {"count": counter[f"{kind}.count"], "ns": counter[f"{kind}.ns"]}


def _add_duration(counter: Counter[str], kind: str, seconds: float) -> None:
    counter[f"{kind}.count"] += 1
    counter[f"{kind}.ns"] += int(seconds * 1e9)
