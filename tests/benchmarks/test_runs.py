import sys
import time

import pytest

from tests.benchmarks.runs import run_traced

# Labels `batches` of 10 images, 0.3 CPU seconds each, after half a second of getting ready; of the
# CPU time a child has half.
LABELLING = """
import subprocess, sys, time
from tests.benchmarks.trace import Tracer
burn = "import time\\nend = time.process_time() + 0.15\\nwhile time.process_time() < end: pass"
tracer = Tracer(sys.argv[1])
time.sleep(0.5)
for _ in range(int(sys.argv[2])):
    subprocess.run([sys.executable, "-S", "-c", burn])
    exec(burn)
    tracer.batch(10)
print("done")
sys.exit(int(sys.argv[3]))
"""


def command(batches, exit_code=0):
    return [sys.executable, "-c", LABELLING, "TRACE", str(batches), str(exit_code)]


def test_steady_state_of_a_run():
    run = run_traced(command(6))

    figures = run.steady_state(lanes=1)
    assert run.stdout == "done\n"
    assert [batch.objects for batch in run.trace.batches] == [10] * 6
    assert 15 < figures["cpu_ms"] < 60  # 30, and what starting a child takes
    assert 0 < figures["images_per_s"] < 10 / 0.3
    assert run.trace.batches[-1].ended_s <= run.ended_s


def test_run_that_fails_says_so():
    with pytest.raises(RuntimeError, match="failed: done"):
        run_traced(command(1, exit_code=1))


def test_run_is_killed_when_it_is_time():
    started = time.monotonic()

    run = run_traced(command(1000), until=lambda trace: bool(trace.batches))

    assert 1 <= len(run.trace.batches) < 100
    assert not run.tree.is_running(run.marks[0])
    assert time.monotonic() - started < 60
