"""Workers that die, on a real Ray: killed by an image, at random, and always."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.images import encode, photo
from tests.support.killing import sitecustomize as killing
from tests.support.killing.sitecustomize import MAGIC

pytestmark = pytest.mark.ray

KILLING = str(Path(killing.__file__).parent)


def labelmill(*arguments, **environment):
    path = KILLING + os.pathsep + os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))
    return subprocess.run(
        [sys.executable, "-m", "jobs", "label", *map(str, arguments), "--weights", "untrained"],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """69 photos, and in the middle of them one that kills whoever decodes it."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(70):
        comment = MAGIC if number == 40 else b"harmless"
        data = encode(photo(200, 150, seed=number), "JPEG", comment=comment)
        (folder / f"{number:02d}.jpg").write_bytes(data)
    return folder


def test_an_image_that_kills_its_worker_is_one_row(folder, tmp_path):
    done = labelmill(folder, tmp_path / "out", "--json", KILL_AT="decode")

    assert done.returncode == 3, done.stderr  # 1 of 70 is over the error rate
    assert done.stdout.startswith("{")
    rows = pd.read_parquet(tmp_path / "out")
    assert len(rows) == rows["uri"].nunique() == 70
    (failed,) = rows[rows["outcome"] == "error"].itertuples()
    assert (Path(failed.uri).name, failed.error_kind) == ("40.jpg", "crashed")
    assert "SIGSEGV" in failed.error
    assert not (tmp_path / "out" / "_labelmill" / "attempts").exists()


def test_a_worker_that_is_killed_costs_no_row(folder, tmp_path):
    killed = tmp_path / "killed"

    done = labelmill(folder, tmp_path / "out", KILL_AT="predict", KILL_ONCE=str(killed))

    assert killed.exists()
    assert done.returncode == 0, done.stderr
    assert "70 of 70 images labelled, no errors" in done.stdout


def test_a_worker_that_dies_while_it_starts_holds_up_nothing(folder, tmp_path):
    killed = tmp_path / "killed"
    soon = {"RAY_worker_register_timeout_seconds": "10"}  # else Ray misses it after a minute

    done = labelmill(folder, tmp_path / "out", KILL_AT="worker", KILL_ONCE=str(killed), **soon)

    assert killed.exists()
    assert done.returncode == 0, done.stderr
    assert "70 of 70 images labelled, no errors" in done.stdout


def test_workers_that_always_die_end_the_job_and_the_same_command_continues(folder, tmp_path):
    command = (folder, tmp_path / "out", "--actors", "1", "--limit", "8")

    failed = labelmill(*command, KILL_AT="predict")

    assert failed.returncode == 1
    assert "was begun 10 times and its worker died each time" in failed.stderr
    assert "fewer --actors" in failed.stderr
    assert "Traceback" not in failed.stderr
    done = labelmill(*command)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 images labelled" in done.stdout


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("load", "a worker died 10 times as it loaded the model"),
        ("list", "the worker that lists the input died 10 times"),
    ],
)
def test_workers_that_get_nowhere_end_the_job(folder, tmp_path, place, sentence):
    failed = labelmill(folder, tmp_path / "out", "--actors", "1", "--limit", "8", KILL_AT=place)

    assert failed.returncode == 1
    assert f"labelmill: {sentence}" in failed.stderr
    assert "Traceback" not in failed.stderr
