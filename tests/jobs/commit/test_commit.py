"""Finished chunks become the dataset, however often and after whatever."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.commit.audit import run_here
from jobs.commit.commit import commit_chunks
from jobs.errors import JobError
from jobs.job.describe import describe_job
from jobs.storage import Storage
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
