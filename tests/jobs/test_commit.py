"""Finished chunks become the dataset, however often and after whatever."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.chunks import pack_table
from jobs.commit import add_up, delete_stale_files, merge_part, plan_parts
from jobs.errors import JobError, SpecError
from jobs.label import run_job, start_over
from jobs.listing import list_chunks
from jobs.progress import JobProgress
from jobs.record import describe_plan, write_record
from jobs.stages import ChunkLabeller
from jobs.storage import Storage
from tests.jobs.conftest import GOOD, ODD, read_rows

STORAGE = Storage()


@pytest.fixture
def labelled(photos, tmp_path, plan_job):
    """A job whose chunks are all there, before the commit."""
    plan = plan_job(photos, tmp_path / "out")
    label = ChunkLabeller(plan)
    for chunk, total in list_chunks(plan, frozenset()):
        label({"id": [chunk.id], "objects": [pack_table(chunk.objects)], "total": [total]})
    return plan


def commit(plan):
    return add_up([merge_part(part) for part in plan_parts(STORAGE, plan.layout)])


def test_rows_are_counted_by_outcome(labelled):
    counts = commit(labelled)

    assert (counts.ok, counts.error) == (len(GOOD), len(ODD))
    assert counts.errors == {"unreadable": 3, "too_large": 1}


def test_errors_have_two_columns_more(labelled, tmp_path):
    commit(labelled)

    ok = pq.read_schema(tmp_path / "out" / "outcome=ok" / "part-00000.parquet")
    error = pq.read_schema(tmp_path / "out" / "outcome=error" / "part-00000.parquet")
    assert set(error.names) - set(ok.names) == {"error_kind", "error"}


def test_a_commit_can_be_repeated(labelled, tmp_path):
    commit(labelled)
    first = read_rows(tmp_path / "out")
    commit(labelled)

    assert read_rows(tmp_path / "out") == first


def test_what_a_commit_that_did_not_end_left_does_not_count(labelled, tmp_path):
    commit(labelled)
    stale = tmp_path / "out" / "outcome=ok" / "part-00007.parquet"
    stale.write_bytes(b"stale")
    (chunk,) = (tmp_path / "out" / "_labelmill" / "chunks").iterdir()
    table = pq.read_table(chunk)
    column = table.schema.get_field_index("error_kind")
    pq.write_table(table.set_column(column, "error_kind", pa.nulls(8, pa.string())), chunk)

    counts = commit(labelled)
    delete_stale_files(STORAGE, labelled.layout, part_count=1)

    assert (counts.ok, counts.error) == (8, 0)
    assert {row["outcome"] for row in read_rows(tmp_path / "out")} == {"ok"}
    assert not stale.exists()


def test_a_missing_or_short_chunk_is_an_error(labelled, tmp_path):
    (chunk,) = (tmp_path / "out" / "_labelmill" / "chunks").iterdir()
    pq.write_table(pq.read_table(chunk).slice(1), chunk)
    with pytest.raises(JobError, match="has 7 rows for 8 objects"):
        commit(labelled)

    chunk.unlink()
    with pytest.raises(JobError, match="has no rows; run the same command again"):
        commit(labelled)


def finish(plan):
    with JobProgress() as progress:
        return run_job(plan, STORAGE, progress)


def test_a_job_killed_before_its_commit_only_commits(labelled, tmp_path):
    # Were anything left to label, this would need Ray, which is not running.
    write_record(STORAGE, labelled.layout, {"rows": _rows(labelled), "state": "running"})

    result = finish(labelled)

    assert result.record["counts"]["listed"] == 8
    assert result.over_error_rate
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert not (tmp_path / "out" / "_labelmill" / "chunks").exists()
    assert finish(labelled).record == result.record  # and nothing more to do


def test_other_labels_are_another_job(labelled, photos, tmp_path, plan_job):
    write_record(STORAGE, labelled.layout, {"rows": _rows(labelled)})
    labels = list(labelled.model.labels)
    (tmp_path / "labels.txt").write_text("\n".join(labels[::-1]))

    other = plan_job(photos, tmp_path / "out", labels=str(tmp_path / "labels.txt"))
    with pytest.raises(SpecError, match="labels-and-config was"):
        finish(other)


def test_speed_may_change_in_between(labelled, photos, tmp_path, plan_job):
    write_record(STORAGE, labelled.layout, {"rows": _rows(labelled)})

    assert finish(plan_job(photos, tmp_path / "out", batch_size=3, actors="2")).record["counts"]


def test_starting_over_deletes_what_is_ours_and_the_record_last(labelled, tmp_path, monkeypatch):
    write_record(STORAGE, labelled.layout, {"rows": _rows(labelled)})
    finish(labelled)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    deleted = []
    delete = Storage.delete
    monkeypatch.setattr(
        Storage, "delete", lambda self, uris: delete(self, deleted.extend(u := list(uris)) or u)
    )

    start_over(labelled.layout, STORAGE)

    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["mine.txt"]
    assert deleted[0].endswith("_SUCCESS")
    assert deleted[-1].endswith("job.json")


def _rows(plan):
    return describe_plan(plan)["rows"]
