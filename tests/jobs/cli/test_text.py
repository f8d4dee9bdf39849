import pytest

from jobs.cli.text import describe, to_amount, to_size

COUNTS = {"listed": 10_965, "ok": 1_061, "error": 9_904, "removed": 0}
RECORD = {"state": "done", "spec": {"output": "file:///out"}, "actual": {"images_per_s": 41.23}}


def test_summary_says_what_was_no_image_and_what_was_left_out():
    suffixes = (".py", ".html", ".c", ".h", ".md", ".sh", "other")
    numbers = (5_120, 3_000, 900, 500, 200, 100, 82)
    not_images = dict(zip(suffixes, numbers, strict=True))
    counts = COUNTS | {
        "errors": {"not_an_image": 9_902, "unreadable": 2},
        "not_images": not_images,
        "duplicates": 3,
        "passed_over": {".json": 8, ".txt": 4},
    }

    assert describe(RECORD | {"counts": counts}) == (
        "1,061 of 10,965 images labelled, 2 errors (2 unreadable), "
        "9,902 not images (5,120 .py, 3,000 .html, 900 .c, 500 .h, 200 .md, 182 other), "
        "3 listed twice, 12 passed over (8 .json, 4 .txt), 41.2 images/s: file:///out"
    )


def test_summary_of_a_job_without_errors_is_short():
    counts = {"listed": 70, "ok": 70, "error": 0, "errors": {}, "removed": 2, "duplicates": 0}

    assert describe(RECORD | {"counts": counts}) == (
        "70 of 70 images labelled, no errors, 2 no longer in the input, 41.2 images/s: file:///out"
    )


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


def test_what_a_job_would_leave_out_is_said_before():
    left_out = {"objects": 1, "bytes": 5000, "duplicates": 1, "passed_over": {"*.txt": 2}}

    first = describe(PLANNED | left_out).splitlines()[0]

    said = "1 object, 5,000 bytes, 1 listed twice, 2 passed over (2 *.txt)"
    assert first == f"input       list.csv ({said})"


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
