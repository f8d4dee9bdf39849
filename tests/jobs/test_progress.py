import pytest

from jobs.labelling.summary import Summary
from jobs.progress import JobProgress, to_duration


def chunk(objects: int, errors: int = 0, seconds: float = 1.0, total: int | None = None) -> Summary:
    return Summary(objects=objects, errors=errors, faults=errors, seconds=seconds, total=total)


def test_figures_grow_with_what_is_known():
    with JobProgress() as progress:
        assert progress.images_per_s is None
        progress.advance(chunk(32, errors=1, seconds=2.0))
        assert "32 images" in progress.figures()
        assert "· 1 error" in progress.figures()
        assert "1 errors" not in progress.figures()
        assert "left" not in progress.figures()

        progress.advance(chunk(32, total=1000))
        assert "64 of 1,000 images" in progress.figures()
        assert "left" in progress.figures()


def test_what_is_no_image_is_no_error():
    with JobProgress() as progress:
        progress.advance(Summary(objects=32, errors=10, faults=1, not_images=9))

        assert "· 1 error · 9 not images" in progress.figures()
        progress.resume(0, 32)
        progress.advance(Summary(objects=32, errors=1, not_images=1))
        assert "· 0 errors · 1 not an image" in progress.figures()


def test_rate_counts_from_the_beginning_of_the_first_chunk():
    with JobProgress() as progress:
        progress.advance(chunk(100, seconds=4.0))

    assert progress.images_per_s == pytest.approx(25, rel=0.05)


def test_rate_counts_from_when_the_first_chunk_was_decoded_though_it_waited():
    with JobProgress() as progress:
        progress.advance(Summary(objects=100, seconds=1.0, ahead_s=3.0))

    assert progress.images_per_s == pytest.approx(25, rel=0.05)


def test_what_workers_spent_is_shared_out():
    with JobProgress() as progress:
        assert progress.actual["cpu_s_per_image"] is None
        for _ in range(2):
            progress.advance(Summary(objects=50, seconds=10.0, model_s=7.0, write_s=1.0, cpu_s=8.0))

    assert progress.actual["shares"] == {"waiting": 0.2, "model": 0.7, "write": 0.1}
    assert progress.actual["cpu_s_per_image"] == pytest.approx(0.16)


def test_rate_leaves_out_what_an_earlier_run_did(capsys):
    with JobProgress() as progress:
        progress.resume(900, 1000)
        progress.advance(chunk(100, seconds=4.0))

    assert progress.images_per_s == pytest.approx(25, rel=0.05)
    assert "1,000 of 1,000 images" in progress.figures()
    assert "900 of 1,000 images were done before; continuing" in capsys.readouterr().err


def test_what_was_counted_before_is_not_counted_again():
    with JobProgress() as progress:
        progress.advance(
            Summary(objects=1000, errors=9, faults=9, seconds=500.0, total=1000, cpu_s=400.0)
        )
        progress.resume(0, 1)
        progress.advance(Summary(objects=1, seconds=0.5, total=1, cpu_s=0.25))

    assert progress.images_per_s == pytest.approx(2, rel=0.05)
    assert progress.actual["cpu_s_per_image"] == 0.25
    assert "0 errors" in progress.figures()


def test_without_a_terminal_there_are_plain_lines(capsys):
    with JobProgress() as progress:
        progress.say("checking")
        progress._last_line = -10.0
        progress.advance(chunk(32, total=64))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "checking"
    assert lines[1].startswith("32 of 64 images · ")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (11.2, "15 s"),
        (89, "90 s"),
        (95, "2 min"),
        (59 * 60, "59 min"),
        (3599, "1 h"),
        (3 * 3600 + 21 * 60, "3 h 20 min"),
        (13 * 3600 + 1300, "13 h"),
        (123 * 3600, "5 days 3 h"),
        (48 * 3600, "2 days"),
    ],
)
def test_a_time_is_no_more_exact_than_a_forecast(seconds, expected):
    assert to_duration(seconds) == expected
