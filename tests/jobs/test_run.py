"""The command itself, on a real Ray and a real S3 server that refuses 30 % of all requests."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tests.support.faulty_proxy import faulty_proxy
from tests.support.images import encode, photo
from tests.support.jobs import GOOD, ODD
from tests.support.service import wait_until

pytestmark = pytest.mark.ray

LABELMILL = [sys.executable, "-m", "jobs"]
FAULT_RATE = 0.3


def labelmill(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LABELMILL, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def unreliable_s3(seaweedfs):
    """The server behind a proxy that answers 503 at random, for every kind of request."""
    chance = random.Random(7)
    with faulty_proxy(
        seaweedfs.endpoint_url, lambda *_: "503" if chance.random() < FAULT_RATE else None
    ) as url:
        yield {**seaweedfs.environment(), "AWS_ENDPOINT_URL": url}


@pytest.fixture(scope="module")
def on_s3(seaweedfs, unreliable_s3, zoo, tmp_path_factory):
    """One job from S3 to S3; what it said, and its output copied here."""
    client = seaweedfs.client()
    client.create_bucket(Bucket="zoo")
    for name, body in zoo.items():
        client.put_object(Bucket="zoo", Key=f"photos/{name}", Body=body)
    done = labelmill(
        *("label", "s3://zoo/photos/", "s3://zoo/out", "--weights", "untrained", "--json"),
        *("--batch-size", "8", "--actors", "1:2"),
        **unreliable_s3,
    )
    folder = tmp_path_factory.mktemp("zoo") / "out"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="zoo", Prefix="out/"):
        for item in page.get("Contents", ()):
            path = folder.parent / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket="zoo", Key=item["Key"])["Body"].read())
    client.close()
    return done, folder


def test_every_object_has_one_row_though_requests_fail(on_s3):
    done, folder = on_s3

    rows = pd.read_parquet(folder).set_index("uri")
    names = [uri.removeprefix("s3://zoo/photos/") for uri in rows.index]
    assert sorted(names) == sorted([*GOOD, *ODD]), done.stderr
    assert rows["outcome"].value_counts().to_dict() == {"ok": 4, "error": 4}
    kinds = rows["error_kind"].dropna()
    assert {uri.rpartition("/")[2]: kind for uri, kind in kinds.items()} == {
        name: kind for name, (kind, _) in ODD.items()
    }


def test_too_many_errors_end_with_exit_code_3_and_a_sentence(on_s3):
    done, _ = on_s3

    assert done.returncode == 3
    assert "more broken images than --max-error-rate 0.01 allows" in done.stderr


def test_json_is_the_record_that_lies_beside_the_output(on_s3):
    done, folder = on_s3

    record = json.loads(done.stdout)
    assert record == json.loads((folder / "_labelmill" / "job.json").read_text())
    assert record["state"] == "done"
    assert record["counts"] == {
        "listed": 8,
        "ok": 4,
        "error": 4,
        "errors": {"unreadable": 2, "too_large": 1, "not_an_image": 1},
        "not_images": {".txt": 1},
        "duplicates": 0,
        "passed_over": {},
        "removed": 0,
    }
    assert record["versions"]["ray"]
    assert record["rows"]["weights_sha256"] == "untrained:0"


def test_the_record_says_how_fast_the_job_was(on_s3):
    done, folder = on_s3

    record = json.loads(done.stdout)
    assert (record["batch_size"], record["actors"]) == (8, [1, 2])
    assert record["actual"]["cpu_s_per_image"] > 0
    assert not [path for path in folder.rglob("*") if "probe" in path.name]


def test_success_is_marked_and_chunks_are_gone(on_s3):
    _, folder = on_s3

    assert (folder / "_SUCCESS").exists()
    assert not (folder / "_labelmill" / "chunks").exists()
    assert (folder / "_labelmill" / "manifest" / "generation-00000" / "complete.json").exists()


def test_ray_keeps_quiet(on_s3):
    done, _ = on_s3

    lines = [line for line in done.stderr.splitlines() if line]
    assert lines[0] == "checking"
    assert all("ray" not in line.lower() and "WARNING" not in line for line in lines), done.stderr


def test_other_tools_read_the_dataset(on_s3):
    _, folder = on_s3

    query = (
        f"SELECT outcome, count(*) FROM read_parquet('{folder}/outcome=*/*.parquet', "
        "union_by_name=true, hive_partitioning=true) GROUP BY ALL ORDER BY ALL"
    )
    assert duckdb.sql(query).fetchall() == [("error", 4), ("ok", 4)]


def test_the_queries_of_the_docs_work(on_s3, tmp_path, monkeypatch):
    _, folder = on_s3
    (tmp_path / "labels").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "output.md").read_text()
    queries = page.partition("```sql\n")[2].partition("```")[0].split(";\n")[:3]

    counted, failed, doubtful = (duckdb.sql(query).fetchall() for query in queries)

    assert sum(images for _, images, _ in counted) == 4
    expected = {("unreadable", 2), ("too_large", 1), ("not_an_image", 1)}
    assert {(kind, count) for kind, count, _ in failed} == expected
    assert any("--max-pixels" in error for kind, _, error in failed if kind == "too_large")
    assert any("exif_rotated" in flags for *_, flags in doubtful)
    outcomes = pd.read_parquet("labels").groupby(["outcome", "label"], dropna=False).size()
    assert outcomes.loc["error"].sum() == 4


def test_an_interrupted_job_ends_soon_and_the_same_command_continues(shared_ray, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(150):
        (photos / f"{number:03d}.jpg").write_bytes(encode(photo(200, 150, seed=number), "JPEG"))
    command = ["label", str(photos), str(out), "--weights", "untrained"]
    job = subprocess.Popen([*LABELMILL, *command], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: chunks_of(out), 120)
    job.send_signal(signal.SIGINT)
    _, stderr = job.communicate(timeout=60)

    assert job.returncode == 130
    assert "interrupted; the same command continues" in stderr
    assert "Traceback" not in stderr
    assert 1 <= len(chunks_of(out)) < 5  # it did not label the rest first
    assert not (out / "_SUCCESS").exists()

    again = labelmill(*command, **shared_ray)
    assert again.returncode == 0, again.stderr
    assert "of 150 images were done before; continuing" in again.stderr
    rows = pd.read_parquet(out)
    assert len(rows) == rows["uri"].nunique() == 150
    assert "nothing is left to do" in labelmill(*command, **shared_ray).stderr


def chunks_of(out: Path) -> list[Path]:
    return list(out.glob("_labelmill/chunks/*.chunk"))


def test_an_output_of_another_job_is_refused_until_overwritten(shared_ray, photos, tmp_path):
    out = tmp_path / "out"
    command = ["label", str(photos), str(out), "--weights", "untrained", "--max-error-rate", "1"]
    assert labelmill(*command, "--limit", "1", **shared_ray).returncode == 0
    (out / "mine.txt").write_text("not labelmill's")

    refused = labelmill(*command, "--limit", "2", **shared_ray)
    assert refused.returncode == 2
    assert "limit was 1 and is now 2" in refused.stderr

    assert labelmill(*command, "--limit", "2", "--overwrite", **shared_ray).returncode == 0
    assert (
        len(pd.read_parquet(out / "outcome=ok")) + len(pd.read_parquet(out / "outcome=error")) == 2
    )
    assert (out / "mine.txt").exists()


def test_dry_run_says_what_would_be_done_and_leaves_nothing(photos, tmp_path):
    out = tmp_path / "new" / "out"
    (photos / ".DS_Store").touch()

    done = labelmill("label", str(photos), str(out), "--weights", "untrained", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "8 objects, " in done.stdout
    assert ", 1 passed over (1 .DS_Store))" in done.stdout
    for text in ("inception_v3:1, 1,000 classes", "untrained:0", "openvino, fp32"):
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == [photos]
