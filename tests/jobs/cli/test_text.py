import pytest

from jobs.cli.text import describe, to_amount, to_size

PLANNED = {
    "state": "planned",
    "spec": {"input": "list.csv", "output": "out"},
    "rows": {"model": "inception_v3:1", "weights_sha256": "untrained:0", "precision": "fp32"},
    **{"objects": 9, "bytes": 0, "num_classes": 1000, "runtime": "openvino", "batch_size": 8},
    **{"actors": [1, 2], "num_gpus": 0, "num_cpus": 1.0, "warning": None},
}


def test_a_dry_run_warns_where_something_may_be_wrong():
    assert "warning" not in describe(PLANNED)

    warned = describe(PLANNED | {"warning": "the first object cannot be read: no"})
    assert warned.splitlines()[-1] == "warning     the first object cannot be read: no"


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
