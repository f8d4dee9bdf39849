import time

import pytest

from tests.benchmarks.trace import Batch, Trace, Tracer


def trace_of(*spans, objects=10):
    return Trace({}, [Batch(began, ended, objects) for began, ended in spans])


def test_what_is_written_is_read(tmp_path):
    tracer = Tracer(path := tmp_path / "trace")
    tracer.step("checking")
    tracer.batch(32, seconds=2.0, compute_s=1.6)
    tracer.batch(8)
    tracer.step("checking")  # again: the first time counts

    trace = Trace.read(path)

    assert trace.steps["checking"] < trace.batches[0].ended_s <= time.monotonic()
    first, second = trace.batches
    assert (first.objects, first.ended_s - first.began_s) == (32, pytest.approx(2.0))
    assert second.began_s == pytest.approx(first.ended_s, abs=0.1)
    assert trace.compute_s(0, time.monotonic()) == 0.05
    assert trace.compute_s(first.ended_s, time.monotonic()) is None  # of the second alone


def test_steady_state_of_one_lane_leaves_out_the_first_batch():
    assert trace_of((0, 5), (5, 6), (6, 7)).steady_span(1) == (5, 7)


def test_steady_state_of_two_lanes_ends_when_one_runs_dry():
    trace = trace_of((0, 4), (1, 5), (4, 8), (5, 9), (8, 12))

    assert trace.steady_span(2) == (5, 9)
    # The last of each lane's chunks, and a quarter of what goes on alone afterwards.
    assert trace.objects_within(5, 9) == pytest.approx(10 * (3 / 4 + 1 + 1 / 4))


def test_steady_state_waits_for_a_late_second_lane():
    trace = trace_of((0, 2), (2, 4), (4, 6), (5, 7), (6, 8), (7, 9))

    assert trace.steady_span(2) == (5, 8)


def test_too_few_batches_have_no_steady_state():
    with pytest.raises(ValueError, match="2 batches in 2 lanes have no steady state"):
        trace_of((0, 1), (2, 3)).steady_span(2)
