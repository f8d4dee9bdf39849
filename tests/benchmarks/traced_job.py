"""`labelmill …` that also writes a trace: python -m tests.benchmarks.traced_job TRACE label …"""

import sys

from jobs.chunks import Summary
from jobs.cli import main
from jobs.progress import JobProgress
from tests.benchmarks.trace import Tracer

tracer = Tracer(sys.argv.pop(1))
say, advance = JobProgress.say, JobProgress.advance


def traced_say(self: JobProgress, step: str) -> None:
    tracer.step(step)
    say(self, step)


def traced_advance(self: JobProgress, summary: Summary) -> None:
    tracer.batch(summary.objects, summary.seconds)
    advance(self, summary)


JobProgress.say, JobProgress.advance = traced_say, traced_advance
main()
