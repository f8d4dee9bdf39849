"""`labelmill plan`, and a job that makes use of it."""

import json
import os
import time
from dataclasses import replace

import pytest

from jobs.cli import commands as cli
from jobs.errors import JobError
from jobs.job.spec import load_job_spec
from jobs.planning.estimate import estimate, with_forecast
from jobs.progress import JobProgress
from jobs.storage import Storage
from model_repo.inception_v3.cache import cache_folder
from tests.jobs.planning.test_forecast import CPU
from tests.support.images import encode, photo


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """As many as the jobs of these tests have."""
    monkeypatch.setattr("jobs.planning.estimate.count_cores", lambda: 2)


@pytest.fixture
def tune(plan_job):
    """Add a forecast to a job's plan; what measures is the caller's."""

    def tune(input_, output, run_parallel, **options):
        with JobProgress() as progress:
            plan = plan_job(input_, output, **options)
            return with_forecast(plan, Storage(), progress, run_parallel)

    return tune


def measured_as(measurement, objects=8):
    def run_parallel(function, items, *, num_gpus):
        (rows,) = items
        assert (rows.num_rows, num_gpus) == (objects, 0)
        return [measurement]

    return run_parallel


def never(*_, **__):
    raise AssertionError("there is nothing to measure")


def test_a_plan_is_told_and_the_job_s_record_has_it_beside_what_came_of_it(
    photos, tmp_path, plan_job, run_job_here
):
    spec = load_job_spec(
        {"input": str(photos), "weights": "untrained", "batch_size": 8}, usage="plan INPUT [OUTPUT]"
    )

    planned = estimate(spec, price_per_hour=3.6)

    assert (planned["state"], planned["objects"]) == ("estimated", 8)
    assert planned["bytes"] == sum(x.stat().st_size for x in photos.rglob("*") if x.is_file())
    assert planned["price"] == pytest.approx(planned["seconds"] / 1000, rel=0.01)
    assert planned["plan"]["bound"] in ("network", "decode", "model", "write")
    text = json.loads(json.dumps(planned))
    lines = cli.describe(text).splitlines()
    assert lines[0].startswith(f"input      file://{photos} (8 objects, ")
    assert any(line.startswith("options    --batch-size 8 --actors ") for line in lines)
    assert "note       4 of the 8 cannot be labelled, such as " in "\n".join(lines)

    record = run_job_here(plan_job(photos, tmp_path / "out", batch_size=8))

    assert record["plan"]["measured"] == planned["plan"]["measured"]
    assert record["actual"]["images_per_s"] > 0
    assert sum(record["actual"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert "planned" not in cli.describe(record)
    record["counts"]["listed"] = 1000
    assert f"({record['plan']['images_per_s']:.1f} planned)" in cli.describe(record)


def test_auto_measures_once_and_sets_what_it_found(photos, tmp_path, tune, capsys):
    options = {"batch_size": "auto", "actors": "auto"}
    slow = replace(CPU, cores=2, fetch_per_s=1.0)

    plan = tune(photos, tmp_path / "out", measured_as(slow), **options)
    again = tune(photos, tmp_path / "other", never, **options)

    for tuned in (plan, again):
        assert (tuned.batch_size, tuned.actors, tuned.num_cpus) == (1, (1, 1), 1.0)
        assert tuned.forecast["bound"] == "network"
    assert "--batch-size 1 --actors 1, as measured at 2026-11-22" in capsys.readouterr().err


def test_settings_that_the_user_gave_stay(photos, tmp_path, tune):
    tune(photos, tmp_path / "out", measured_as(CPU), batch_size="auto")

    plan = tune(photos, tmp_path / "out", never, batch_size=16, actors="1:3")

    assert (plan.batch_size, plan.actors) == (16, (1, 3))
    assert plan.forecast["actors"] == 3


def test_one_batch_size_is_not_all_of_them(photos, tmp_path, tune):
    one, every = replace(CPU, forward_cpu_s={16: 0.1}, forward_s={16: 0.1}), CPU
    tune(photos, tmp_path / "out", measured_as(one), batch_size=16, actors="auto")

    assert tune(photos, tmp_path / "out", never, batch_size=16).forecast
    assert tune(photos, tmp_path / "out", measured_as(every), batch_size="auto").batch_size == 1


@pytest.mark.parametrize("few", [{"limit": 4}, {"actors": "1"}])
def test_a_trial_does_not_decide_for_a_whole_job(photos, tmp_path, tune, few):
    trial, whole = replace(CPU, fetch_per_s=1.0), CPU
    run_parallel = measured_as(trial, objects=few.get("limit", 8))
    tune(photos, tmp_path / "out", run_parallel, batch_size="auto", **few)

    assert tune(photos, tmp_path / "out", never, **few).forecast["bound"] == "network"
    plan = tune(photos, tmp_path / "out", measured_as(whole), actors="auto")
    assert plan.forecast["bound"] != "network"


def test_what_costs_something_else_is_measured_anew(photos, tmp_path, tune):
    tune(photos, tmp_path / "out", measured_as(CPU), batch_size="auto")

    for options in ({"emit": "embedding"}, {"runtime": "torch"}):
        plan = tune(photos, tmp_path / "out", never, **options)
        assert plan.forecast is None


def test_what_was_measured_long_ago_is_measured_anew(photos, tmp_path, tune):
    tune(photos, tmp_path / "out", measured_as(CPU), batch_size="auto")
    long_ago = time.time() - 31 * 24 * 3600
    for path in cache_folder("measurements").iterdir():
        os.utime(path, (long_ago, long_ago))

    assert tune(photos, tmp_path / "out", never, batch_size=16).forecast is None
    new = replace(CPU, at="2027-01-01T10:00:00+00:00")
    plan = tune(photos, tmp_path / "out", measured_as(new), batch_size="auto")
    assert plan.forecast["measured"]["at"] == new.at


def test_where_rows_are_written_counts(photos, tmp_path, tune, s3_environment, s3_bucket):
    tune(photos, f"s3://{s3_bucket}/one", measured_as(CPU), batch_size="auto")

    assert tune(photos, f"s3://{s3_bucket}/two", never).forecast
    assert tune(photos, tmp_path / "out", never).forecast is None


def test_a_job_goes_on_where_nothing_can_be_measured(photos, tmp_path, tune, capsys):
    def fail(*_, **__):
        raise JobError("a process that measured died")

    plan = tune(photos, tmp_path / "out", fail, batch_size="auto", actors="auto")

    assert (plan.batch_size, plan.actors, plan.forecast) == (32, (1, 2), None)
    assert "cannot measure (a process that measured died)" in capsys.readouterr().err


def test_sizes_that_no_listing_tells_are_those_of_the_sample(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(encode(photo(64, 64), "JPEG"))
    (tmp_path / "list.csv").write_text(f"uri\n{tmp_path}/a.jpg\n{tmp_path}/b.jpg\n")
    values = {"input": str(tmp_path / "list.csv"), "weights": "untrained"}
    monkeypatch.setattr(
        "jobs.planning.estimate.measure", lambda *_: replace(CPU, image_bytes=1000.4)
    )

    estimated = estimate(load_job_spec(values, usage="plan INPUT [OUTPUT]"))

    assert (estimated["objects"], estimated["bytes"]) == (2, 2001)
