import pytest

from jobs.errors import ErrorRateError
from jobs.labelling.summary import Summary, check_error_rate, is_over


def chunk(objects: int, faults: int, errors: int | None = None) -> Summary:
    return Summary(
        objects=objects, errors=faults if errors is None else errors, faults=faults, seconds=1.0
    )


def test_a_few_broken_images_at_the_start_stop_nothing():
    check_error_rate(chunk(999, 999), 0.01)


def test_too_many_broken_images_stop_the_job():
    done = chunk(900, 5)
    check_error_rate(done, 0.01)
    done += chunk(600, 11)

    with pytest.raises(ErrorRateError, match=r"16 of 1,500 .* --max-error-rate 0.01"):
        check_error_rate(done, 0.01)


def test_what_failed_before_and_is_tried_again_is_measured_against_the_whole_dataset():
    check_error_rate(chunk(2000, 2000), 0.01, good_before=1_000_000)


def test_what_the_storage_did_is_no_fault_of_the_images():
    check_error_rate(chunk(2000, 0, errors=2000), 0.01)


def test_what_is_no_image_counts_neither_as_broken_nor_as_an_image():
    done = Summary(objects=9000, errors=7700, faults=16, not_images=7500)

    with pytest.raises(ErrorRateError, match=r"16 of 1,500 images"):
        check_error_rate(done, 0.01)
    check_error_rate(done, 0.02)
    check_error_rate(Summary(objects=9000, errors=8100, faults=100, not_images=8001), 0.01)


@pytest.mark.parametrize(
    ("errors", "ok", "over"),
    [
        ({"unreadable": 1}, 99, False),
        ({"unreadable": 1, "too_large": 1}, 98, True),
        ({"crashed": 2}, 98, True),
        ({"not_found": 50, "access_denied": 10, "storage": 10}, 30, False),
        ({"not_found": 100}, 0, True),
        ({"not_an_image": 99}, 1, False),
        ({"not_an_image": 90, "unreadable": 1}, 9, True),
        ({"not_an_image": 100}, 0, True),
    ],
)
def test_a_dataset_is_over_the_rate_by_what_is_the_images_fault(errors, ok, over):
    assert is_over({"listed": 100, "ok": ok, "errors": errors}, 0.01) is over
