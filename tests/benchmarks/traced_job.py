"""`labelmill …` that also writes a trace: python -m tests.benchmarks.traced_job TRACE label …"""

import os
import sys

import jobs.labelling.pipeline
from jobs.__main__ import main
from jobs.progress import JobProgress
from tests.benchmarks.trace import Tracer, let_workers_import_tests
from tests.benchmarks.traced_stage import TRACE, TracedLabeller

os.environ[TRACE] = sys.argv.pop(1)
let_workers_import_tests()
tracer = Tracer(os.environ[TRACE])
say = JobProgress.say


def traced_say(self: JobProgress, step: str) -> None:
    tracer.step(step)
    say(self, step)


JobProgress.say = traced_say
jobs.labelling.pipeline.ChunkLabeller = TracedLabeller
main()
