"""Finished chunks become the dataset, however often and after whatever."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.commit.audit import run_here
from jobs.commit.commit import commit_chunks
from jobs.errors import JobError
from jobs.job.describe import describe_job
from jobs.storage import Storage
from jobs.verify import verify
from tests.support.jobs import GOOD, ODD, label_chunks, read_rows

STORAGE = Storage()


@pytest.fixture
def labelled(photos, tmp_path, make_job):
    """A job whose chunks are all there, before the commit."""
    job = make_job(photos, tmp_path / "out")
    list(label_chunks(job))
    return job


def commit(job):
    return commit_chunks(job.layout, STORAGE, run_here)


def test_rows_are_counted_by_outcome(labelled):
    counts = commit(labelled)

    assert (counts.listed, counts.ok, counts.error) == (8, len(GOOD), len(ODD))
    assert counts.errors == {"unreadable": 2, "too_large": 1, "not_an_image": 1}


def test_errors_have_two_columns_more(labelled, tmp_path):
    commit(labelled)

    ok = pq.read_schema(tmp_path / "out" / "outcome=ok" / "part-00000-00000.parquet")
    error = pq.read_schema(tmp_path / "out" / "outcome=error" / "part-00000-00000.parquet")
    assert set(error.names) - set(ok.names) == {"error_kind", "error"}


def test_a_commit_can_be_repeated(labelled, tmp_path):
    commit(labelled)
    first = read_rows(tmp_path / "out")
    commit(labelled)

    assert read_rows(tmp_path / "out") == first


def test_what_a_commit_that_did_not_end_left_does_not_count(labelled, tmp_path):
    commit(labelled)
    stale = tmp_path / "out" / "outcome=ok" / "part-00000-00007.parquet"
    stale.write_bytes(b"stale")
    (chunk,) = (tmp_path / "out" / "_labelmill" / "chunks").iterdir()
    table = pq.read_table(chunk)
    column = table.schema.get_field_index("error_kind")
    pq.write_table(table.set_column(column, "error_kind", pa.nulls(8, pa.string())), chunk)

    counts = commit(labelled)

    assert (counts.ok, counts.error) == (8, 0)
    assert {row["outcome"] for row in read_rows(tmp_path / "out")} == {"ok"}
    assert not stale.exists()


@pytest.mark.parametrize(("empty", "full"), [("error", "ok"), ("ok", "error")])
def test_an_outcome_without_rows_has_one_file_with_its_columns(
    photos, tmp_path, make_job, run_job_here, empty, full
):
    out = tmp_path / "out"
    for name in ODD if empty == "error" else GOOD:
        (photos / name).unlink()
    job = make_job(photos, out, emit="embedding,features:Mixed_7c")
    run_job_here(job)

    (path,) = out.glob(f"outcome={empty}/*")
    assert path.name == "part-00000-00000.parquet"
    assert pq.read_metadata(path).num_rows == 0
    columns = {
        name: set(pq.read_schema(next(out.glob(f"outcome={name}/*")))) for name in (empty, full)
    }
    assert columns["error"] - columns["ok"] == {
        pa.field(name, pa.string()) for name in ("error_kind", "error")
    }
    assert columns["ok"] < columns["error"]
    assert verify(str(out), sample=2).same == 2


def test_a_file_without_rows_is_there_as_long_as_its_outcome_has_none(
    photos, tmp_path, make_job, run_job_here
):
    def files(outcome):
        return sorted(path.name for path in tmp_path.glob(f"out/outcome={outcome}/*"))

    for name in ODD:
        (photos / name).unlink()
    job = make_job(photos, tmp_path / "out")
    run_job_here(job)
    first = "part-00000-00000.parquet"
    assert (files("ok"), files("error")) == ([first], [first])

    missing = photos / "missing.jpg"
    missing.symlink_to(tmp_path / "nowhere")
    assert run_job_here(job)["counts"]["error"] == 1
    second = "part-00001-00000.parquet"
    assert (files("ok"), files("error")) == ([first], [second])

    missing.unlink()
    missing.write_bytes((photos / GOOD[0]).read_bytes())
    assert run_job_here(job)["counts"]["error"] == 0
    third = "part-00002-00000.parquet"
    assert (files("ok"), files("error")) == ([first, third], [third])
    assert read_rows(tmp_path / "out")[0].keys() >= {"uri", "label"}


def test_a_missing_or_short_chunk_is_an_error(labelled, tmp_path):
    (chunk,) = (tmp_path / "out" / "_labelmill" / "chunks").iterdir()
    pq.write_table(pq.read_table(chunk).slice(1), chunk)
    with pytest.raises(JobError, match="has 7 rows for 8 objects"):
        commit(labelled)

    chunk.unlink()
    with pytest.raises(JobError, match="has no rows; run the same command again"):
        commit(labelled)


def _rows(job):
    return describe_job(job)["rows"]
