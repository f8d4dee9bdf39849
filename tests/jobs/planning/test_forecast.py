"""Arithmetic from costs to a forecast, on machines that are not there."""

import dataclasses

import pytest

from jobs.job.checks import check_job
from jobs.job.resolve import resolve_job
from jobs.job.spec import load_job_spec
from jobs.planning.forecast import make_forecast
from jobs.planning.measure import Measurement
from jobs.resources import Resources
from jobs.storage import Storage
from tests.support.images import encode, photo
from tests.support.jobs import placed

CPU = Measurement(
    at="2026-11-22T10:00:00+00:00",
    took_s=12.0,
    cores=4,
    had_cores=4.0,
    sampled=100,
    image_bytes=110_000.0,
    fetch_per_s=2000.0,
    fetch_cpu_s=0.0003,
    decode_cpu_s=0.002,
    forward_cpu_s={1: 0.100, 8: 0.098, 16: 0.099},
    forward_s={1: 0.200, 8: 0.196, 16: 0.198},
    row_bytes=200.0,
    write_cpu_s=0.0001,
    write_s=0.0001,
    load_s=0.5,
)
GPU = dataclasses.replace(
    CPU,
    cores=16,
    had_cores=1.0,
    fetch_per_s=20_000.0,
    forward_cpu_s={1: 0.001, 8: 0.0001, 16: 0.0001, 32: 0.0001},
    forward_s={1: 0.001, 8: 0.0005, 16: 0.0003, 32: 0.0002},
)


@pytest.fixture
def job_for(tmp_path):
    """Resolve a job for so many cores and GPUs, without looking for any."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(encode(photo(100, 100), "JPEG"))

    def resolve(cpus: int, gpus: int = 0, **options: object):
        values = {"input": str(tmp_path / "photos"), "weights": "untrained", **options}
        spec = load_job_spec(values, usage="plan INPUT [OUTPUT]")
        job = resolve_job(check_job(spec, Storage()), Resources(cpus, 0))
        if not gpus:
            return job
        share = spec.num_gpus or 1.0
        return placed(
            job,
            resources=Resources(cpus, gpus),
            num_gpus=share,
            actors=(1, int(gpus / share)),
            separate_decode=True,
        )

    return resolve


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("model", 4 / 0.1024)),
        ({"decode_cpu_s": 0.3}, ("decode", 4 / 0.4004)),
        ({"fetch_per_s": 10.0}, ("network", 10.0)),
        ({"fetch_cpu_s": 0.5}, ("network", 4 / 0.6021)),
        ({"write_cpu_s": 0.4}, ("write", 4 / 0.5023)),
        # Half of the objects never come to the model.
        ({"errors": {"unreadable": 50}}, ("model", 4 / 0.0524)),
    ],
)
def test_on_cpus_what_costs_most_of_the_cores_is_the_bound(job_for, changes, expected):
    measured = dataclasses.replace(CPU, **changes)

    forecast = make_forecast(measured, job_for(4))

    assert (forecast.bound, forecast.images_per_s) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize(
    ("gpus", "changes", "expected"),
    [
        (1, {}, ("model", 1 / 0.0002)),
        # 2 ms to decode, 0.3 to hand the pixels over, 0.5 for the rest
        (2, {}, ("decode", 16 / 0.0028)),
        (2, {"fetch_per_s": 3000.0}, ("network", 3000.0)),
        # Four chunks are in hand: three are written while one is computed.
        (1, {"write_s": 0.0005}, ("model", 1 / 0.0002)),
        (1, {"write_s": 0.002}, ("write", 4 / 0.0022)),
    ],
)
def test_on_gpus_the_cores_decode_beside(job_for, gpus, changes, expected):
    measured = dataclasses.replace(GPU, **changes)

    forecast = make_forecast(measured, job_for(16, gpus))

    assert (forecast.bound, forecast.images_per_s) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize(("measured", "gpus", "expected"), [(CPU, 0, 1), (GPU, 1, 32)])
def test_the_smallest_batch_that_is_nearly_the_fastest_is_chosen(job_for, measured, gpus, expected):
    assert make_forecast(measured, job_for(16, gpus)).batch_size == expected
    assert make_forecast(measured, job_for(16, gpus, batch_size=8)).batch_size == 8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 4),
        # 1.1 times what 10 images/s of 0.1024 CPU seconds keep busy
        ({"fetch_per_s": 10.0}, 2),
        # As long as for the rest they wait for the storage to take their rows.
        ({"write_s": 0.1025}, 8),
    ],
)
def test_actors_on_cpus_are_as_many_as_are_busy(job_for, changes, expected):
    measured = dataclasses.replace(CPU, **changes)

    assert make_forecast(measured, job_for(4)).actors == expected


def test_actors_on_gpus_are_no_more_than_decoding_feeds(job_for):
    forecast = make_forecast(GPU, job_for(16, 8))

    assert forecast.actors == 2  # 5,700 images/s at 0.2 ms, and a tenth to spare
    assert forecast.bound == "decode"


def test_actors_that_the_user_gave_are_kept(job_for):
    forecast = make_forecast(CPU, job_for(4, actors="1:2"))

    assert forecast.actors == 2
    assert forecast.images_per_s == pytest.approx(2 / 0.1001)


def test_a_cluster_fetches_with_all_its_machines(job_for):
    assert make_forecast(CPU, job_for(16)).rates["network"] == pytest.approx(8000)


def test_time_is_for_all_objects_and_the_start(job_for):
    forecast = make_forecast(CPU, job_for(4))

    assert forecast.seconds(100_000) - forecast.seconds(0) == pytest.approx(100_000 * 0.1024 / 4)
    assert 5 < forecast.seconds(0) < 30
