"""A job's actor that also writes the trace, with the CPU time of decoding and the network alone.

So a job is compared with what it computes itself, at the same moment: from one minute to the next,
a shared machine may be a fifth faster or slower.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import jobs.labelling.decode
from jobs.labelling.stages import ChunkLabeller
from jobs.labelling.summary import Summary
from jobs.labelling.tasks import Columns, unpack
from tests.benchmarks.trace import Tracer

TRACE = "LABELMILL_BENCHMARK_TRACE"


class TracedLabeller(ChunkLabeller):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._tracer = Tracer(os.environ[TRACE])
        self._used_s = {"decode": 0.0, "forward": 0.0}  # one thread each
        jobs.labelling.decode.preprocess = self._timed("decode", jobs.labelling.decode.preprocess)
        self._classifier.predict = self._timed("forward", self._classifier.predict)

    def __call__(self, columns: Columns) -> Columns:
        before, began = sum(self._used_s.values()), time.monotonic()
        row = super().__call__(columns)
        compute_s = sum(self._used_s.values()) - before
        self._tracer.batch(unpack(row, Summary).objects, time.monotonic() - began, compute_s)
        return row

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._used_s[name] += time.thread_time() - started

        return timed
