import pytest

from jobs.cli.text import to_amount, to_duration, to_size


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


@pytest.mark.parametrize(
    ("price", "expected"), [(1234.5, "1,234.50"), (1, "1.00"), (0.0312, "0.031"), (0, "0.00")]
)
def test_small_sums_keep_two_digits(price, expected):
    assert to_amount(price) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 bytes"), (999, "999 bytes"), (110_000, "110 KB"), (2.14e9, "2.14 GB")],
)
def test_sizes_have_units(size, expected):
    assert to_size(size) == expected
