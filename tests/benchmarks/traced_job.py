"""`labelmill …` that also writes a trace: python -m tests.benchmarks.traced_job TRACE label …"""

import os
import sys
from pathlib import Path

import jobs.pipeline
from jobs.cli import main
from jobs.progress import JobProgress
from tests.benchmarks.trace import Tracer
from tests.benchmarks.traced_stage import TRACE, TracedLabeller

os.environ[TRACE] = sys.argv.pop(1)
# For workers: they import `TracedLabeller`.
paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
tracer = Tracer(os.environ[TRACE])
say = JobProgress.say


def traced_say(self: JobProgress, step: str) -> None:
    tracer.step(step)
    say(self, step)


JobProgress.say = traced_say
jobs.pipeline.ChunkLabeller = TracedLabeller
main()
