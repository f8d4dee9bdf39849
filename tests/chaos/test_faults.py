"""Whole jobs on a storage that refuses, resets, delays, cuts and spoils."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness import Job, Reference, S3Place, check_dataset, check_ending, read_rows
from tests.chaos.images import BROKEN, FEW
from tests.chaos.mitm import faulty_storage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

INPUT = "s3://faults/photos/"
DATA = r"\.(jpg|txt|png|parquet|json)$"  # of a listing nobody can tell that a byte is wrong
PICTURES = r"/photos/.*\.(jpg|txt|png)$"
SPOILT = {"010.jpg": "flipped", "011.jpg": "short", "012.jpg": "truncated"}

UNRELIABLE = (
    {"fault": "503", "method": "GET", "rate": 0.2},
    {"fault": "500", "method": "GET", "rate": 0.1},
    {"fault": "503", "method": "PUT|POST|DELETE|HEAD", "rate": 0.2, "times": 2},
    {"fault": "reset", "rate": 0.1},
    {"fault": "lost", "method": "PUT", "rate": 0.5, "times": 1},
    {"fault": "slow", "rate": 0.05},
)
# Once for every object at most, so that reading it again helps …
SPOILING = tuple(
    {"fault": fault, "method": "GET", "url": DATA, "rate": rate, "times": 1}
    for fault, rate in (("flipped", 0.4), ("short", 0.4), ("truncated", 0.4))
)
# … and some for ever.
SPOILT_FOR_EVER = tuple(
    {"fault": fault, "method": "GET", "url": f"/photos/{name}$"} for name, fault in SPOILT.items()
)


@pytest.fixture(scope="module")
def few(images: dict[str, bytes]) -> dict[str, bytes]:
    """Forty images, the broken ones among them."""
    names = sorted(images)[: FEW - len(BROKEN)]
    return {name: images[name] for name in [*names, *BROKEN]}


@pytest.fixture(scope="module")
def expected(few: dict[str, bytes], reference: Reference) -> Reference:
    return {name: reference[name] for name in few}


@pytest.fixture(scope="module")
def s3(seaweedfs, few: dict[str, bytes]) -> Iterator[Any]:
    """A client of the server itself; the images are in its bucket `faults`."""
    client = seaweedfs.client()
    client.create_bucket(Bucket="faults")
    for name, body in few.items():
        client.put_object(Bucket="faults", Key=f"photos/{name}", Body=body)
    yield client
    client.close()


@pytest.fixture
def label(start: Callable[..., Job], seaweedfs, tmp_path: Path) -> Callable[..., tuple[Job, int]]:
    """Run a job to its end on a storage with these faults: `label(output, *rules)`."""

    def label_job(output: S3Place, *rules: dict[str, Any]) -> tuple[Job, int]:
        with faulty_storage(seaweedfs.endpoint_url, tmp_path, *rules) as url:
            environment = {**seaweedfs.environment(), "AWS_ENDPOINT_URL": url}
            options = ("--max-error-rate", "0.5", "--actors", "1")
            job = start(INPUT, output.uri, *options, **environment)
            code = job.wait(240)
        print(job.said, (tmp_path / "mitmdump.log").read_text(), sep="\n")
        return job, code

    return label_job


def test_refusals_resets_delays_and_lost_answers_change_nothing(label, s3, expected, tmp_path):
    output = S3Place(s3, "faults", "unreliable")

    job, code = label(output, *UNRELIABLE)

    check_ending(job, code, (0,))
    check_dataset(output, tmp_path / "copy", expected)


def test_spoilt_bytes_are_read_again(label, s3, expected, tmp_path):
    output = S3Place(s3, "faults", "spoilt")

    job, code = label(output, *SPOILT_FOR_EVER, *SPOILING)

    check_ending(job, code, (0,))
    rows = read_rows(output.copy(tmp_path / "copy"))
    assert {name: rows[name]["error_kind"] for name in SPOILT} == dict.fromkeys(SPOILT, "storage")
    for name in SPOILT:  # these can have no labels; all else has to be as ever
        expected = expected | {name: rows[name]}
    check_dataset(output, tmp_path / "again", expected)


def test_expired_credentials_end_the_job_and_the_next_run_completes_it(
    label, s3, expected, tmp_path
):
    output = S3Place(s3, "faults", "expired")

    job, code = label(output, {"fault": "expired", "after": 40})

    check_ending(job, code, (1,))
    assert "expired" in job.said
    job, code = label(output)
    check_ending(job, code, (0,))
    check_dataset(output, tmp_path / "copy", expected)
