"""`labelmill verify`: what it confirms, and all that it notices."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.cli.commands import cli
from jobs.errors import JobError, SpecError
from jobs.labelling.child_reader import read_isolated
from jobs.verify import verify
from tests.jobs.labelling.test_child_reader import KILLING
from tests.support.images import encode, photo
from tests.support.inputs import write_tar
from tests.support.jobs import GOOD
from tests.support.killing.sitecustomize import MAGIC


@pytest.fixture
def out(photos, tmp_path, make_job, run_job_here):
    """A dataset of the zoo: four rows, four errors."""
    run_job_here(make_job(photos, tmp_path / "out", emit="embedding"))
    return tmp_path / "out"


def part(out, outcome="ok"):
    return out / f"outcome={outcome}" / "part-00000-00000.parquet"


def change(path, name, value, where=None):
    """Give the first row of a file another value, or the row that has the value `where`."""
    table = pq.read_table(path)
    at = table.schema.get_field_index(name)
    values = table[name].to_pylist()
    values[values.index(where) if where else 0] = value
    changed = pa.array(values, table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), changed), path)


def test_a_dataset_as_it_was_written_is_right(out):
    found = verify(str(out), sample=100)

    assert (found.counts.listed, found.counts.ok, found.counts.error) == (8, 4, 4)
    assert (found.same, found.changed) == (8, 0)


def test_the_command_says_so(out):
    said = CliRunner().invoke(cli, ["verify", str(out), "--sample", "3"], standalone_mode=False)
    as_json = CliRunner().invoke(cli, ["verify", str(out), "--json"], standalone_mode=False)

    assert f"8 objects listed = 4 rows ok + 4 errors, every uri once: file://{out}" in said.output
    assert "3 rows labelled again are the same" in said.output
    assert json.loads(as_json.output)["counts"]["listed"] == 8


def test_nothing_is_written(out):
    def snapshot():
        return {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    before = snapshot()
    verify(str(out), sample=2)

    assert snapshot() == before


def test_a_wrong_label_is_found(out):
    labels = pq.read_table(part(out))["labels"][0].as_py()
    change(part(out), "labels", [{**labels[1], "score": labels[0]["score"] + 0.01}, labels[0]])

    with pytest.raises(
        JobError, match=r"1 of 8 rows of .* come out differently when labelled again"
    ):
        verify(str(out), sample=8)


def test_a_good_image_under_errors_is_found(out, photos):
    good = f"file://{photos}/{GOOD[0]}"
    rows = {row["uri"]: row for row in pq.read_table(part(out)).to_pylist()}
    bad = pq.read_table(part(out, "error"))["uri"][0].as_py()
    change(part(out, "error"), "uri", good)
    change(part(out, "error"), "etag", rows[good]["etag"])
    change(part(out), "uri", bad, where=good)

    with pytest.raises(JobError, match=r"was (unreadable|too_large) and is now labelled"):
        verify(str(out), sample=8)


def test_a_lost_row_is_found(out):
    pq.write_table(pq.read_table(part(out)).slice(1), part(out))

    with pytest.raises(JobError, match="1 uris were listed and have no row"):
        verify(str(out), sample=0)


def test_another_count_than_the_record_s_is_found(out):
    record = json.loads((out / "_labelmill/job.json").read_text())
    record["counts"]["ok"] = 5
    (out / "_labelmill/job.json").write_text(json.dumps(record))

    with pytest.raises(JobError, match="says ok 5, but the files hold 4"):
        verify(str(out), sample=0)


def test_objects_that_changed_since_are_no_mistake(out, photos):
    (photos / GOOD[0]).write_bytes(encode(photo(100, 100, seed=50), "JPEG"))
    (photos / GOOD[1]).unlink()

    found = verify(str(out), sample=8)

    assert (found.same, found.changed) == (6, 2)


def test_updates_are_verified_by_what_was_listed_last(
    out, photos, tmp_path, make_job, run_job_here
):
    (photos / GOOD[0]).write_bytes(encode(photo(100, 100, seed=50), "JPEG"))
    (photos / "new.jpg").write_bytes(encode(photo(100, 100, seed=51), "JPEG"))
    run_job_here(make_job(photos, out, emit="embedding"))

    found = verify(str(out), sample=100)

    assert (found.counts.listed, found.same, found.changed) == (9, 9, 0)


def test_images_in_shards_are_found_again(tmp_path, make_job, run_job_here):
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(2):
        images = {
            f"{seed}.jpg": encode(photo(90, 80, seed=seed + number), "JPEG") for seed in range(3)
        }
        write_tar(shards / f"{number}.tar", images)
    run_job_here(make_job(shards, tmp_path / "out"))

    assert verify(str(tmp_path / "out"), sample=6).same == 6


def test_an_image_that_crashes_the_decoder_crashes_no_verification(
    tmp_path, make_job, run_job_here, monkeypatch
):
    folder = tmp_path / "killers"
    folder.mkdir()
    (folder / "killer.jpg").write_bytes(encode(photo(90, 80), "JPEG", comment=MAGIC))
    (folder / "good.jpg").write_bytes(encode(photo(90, 80, seed=1), "JPEG"))
    monkeypatch.setenv("PYTHONPATH", KILLING + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("KILL_AT", "decode")
    monkeypatch.setattr("jobs.labelling.stages.read_images", read_isolated)
    record = run_job_here(make_job(folder, tmp_path / "out", max_error_rate=1))
    assert record["counts"]["errors"] == {"crashed": 1}

    assert verify(str(tmp_path / "out"), sample=2).same == 2


def test_a_job_that_is_not_done_is_not_verified(out):
    (out / "_SUCCESS").unlink()

    with pytest.raises(JobError, match="is not done; run its command again to finish it"):
        verify(str(out), sample=0)


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(SpecError, match="is not a predictions dataset"):
        verify(str(tmp_path), sample=0)


def test_without_its_input_a_dataset_s_accounts_can_still_be_checked(out, photos):
    shutil.rmtree(photos)

    found = verify(str(out), sample=5)

    assert (found.same, found.changed) == (0, 5)
    assert found.counts.listed == 8


def test_another_model_under_the_same_name_is_named(out):
    record = json.loads((out / "_labelmill/job.json").read_text())
    record["rows"]["weights_sha256"] = "untrained:1"
    (out / "_labelmill/job.json").write_text(json.dumps(record))

    with pytest.raises(SpecError, match="weights-sha256 was 'untrained:1' and is now 'untrained:0"):
        verify(str(out), sample=1)
