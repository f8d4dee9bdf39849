"""`labelmill plan`, and a job that makes use of it."""

import json
from dataclasses import replace

import pytest

from jobs.cli import commands as cli
from jobs.job.spec import load_job_spec
from jobs.planning.estimate import estimate
from tests.jobs.planning.test_forecast import CPU
from tests.support.images import encode, photo


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """As many as the jobs of these tests have."""
    monkeypatch.setattr("jobs.planning.estimate.count_cores", lambda: 2)


def test_a_plan_says_how_fast_and_with_which_options(photos):
    spec = load_job_spec(
        {"input": str(photos), "weights": "untrained", "batch_size": 8}, usage="plan INPUT [OUTPUT]"
    )

    (photos / ".DS_Store").write_bytes(b"")
    planned = estimate(spec, price_per_hour=3.6)

    assert (planned["state"], planned["objects"]) == ("estimated", 8)
    assert planned["bytes"] == sum(x.stat().st_size for x in photos.rglob("*") if x.is_file())
    assert planned["passed_over"] == {".DS_Store": 1}
    assert planned["price"] == pytest.approx(planned["seconds"] / 1000, rel=0.01)
    assert planned["plan"]["bound"] in ("network", "decode", "model", "write")
    text = json.loads(json.dumps(planned))
    lines = cli.describe(text).splitlines()
    assert lines[0].startswith(f"input      file://{photos} (8 objects, ")
    assert any(line.startswith("options    --batch-size 8 --actors ") for line in lines)
    assert "note       4 of the 8 cannot be labelled, such as " in "\n".join(lines)


def test_sizes_that_no_listing_tells_are_those_of_the_sample(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(encode(photo(64, 64), "JPEG"))
    (tmp_path / "list.csv").write_text(f"uri\n{tmp_path}/a.jpg\n{tmp_path}/b.jpg\n")
    values = {"input": str(tmp_path / "list.csv"), "weights": "untrained"}
    monkeypatch.setattr(
        "jobs.planning.estimate.measure", lambda *_: replace(CPU, image_bytes=1000.4)
    )

    estimated = estimate(load_job_spec(values, usage="plan INPUT [OUTPUT]"))

    assert (estimated["objects"], estimated["bytes"]) == (2, 2001)
