import pytest

from serving.pace import Pace


def test_idle_model_is_free_at_once():
    pace = Pace()
    pace.end(1, 0.1, now=10)

    assert pace.busy_s(10) == 0


def test_pass_is_expected_to_take_as_long_as_those_before():
    pace = Pace()
    pace.end(4, 0.4, now=10)

    pace.begin(4, now=20)

    assert pace.busy_s(20.1) == pytest.approx(0.3)
    assert pace.busy_s(21) == 0  # it takes longer than expected: nobody waits for that


def test_size_never_seen_is_judged_by_the_others():
    pace = Pace()
    pace.end(2, 0.2, now=10)

    pace.begin(8, now=20)

    assert pace.busy_s(20) == pytest.approx(0.8)


def test_average_follows_what_changes():
    pace = Pace()
    for _ in range(30):
        pace.end(1, 0.1, now=0)
    for _ in range(30):
        pace.end(1, 0.3, now=0)

    assert pace.per_image_s == pytest.approx(0.3, rel=0.01)
