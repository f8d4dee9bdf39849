import pytest

from jobs.cli.text import to_amount, to_size


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
