"""What was listed against what is there: every way in which the two can differ is noticed."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.commit.audit import balance, read_account, run_here
from jobs.errors import JobError
from jobs.storage import Storage
from tests.support.jobs import GOOD, ODD


@pytest.fixture
def dataset(photos, tmp_path, make_job, run_job_here):
    """A dataset of eight objects: its layout, and the files with the rows that are ok and not."""
    job = make_job(photos, tmp_path / "out")
    run_job_here(job)
    ok, error = (
        tmp_path / "out" / f"outcome={outcome}" / "part-00000-00000.parquet"
        for outcome in ("ok", "error")
    )
    return job.layout, ok, error


def test_accounts_that_balance_are_counted(dataset):
    layout, *_ = dataset

    counts = balance(layout, Storage(), run_here)

    assert (counts.listed, counts.ok, counts.error) == (8, len(GOOD), len(ODD))
    assert counts.errors == {"unreadable": 2, "too_large": 1, "not_an_image": 1}
    assert counts.not_images == {".txt": 1}


def test_a_lost_row_is_named(dataset):
    layout, ok, _ = dataset
    table = pq.read_table(ok)
    pq.write_table(table.slice(1), ok)

    with pytest.raises(JobError, match=r"1 uris were listed and have no row, among them (.*)") as e:
        balance(layout, Storage(), run_here)
    assert table["uri"][0].as_py() in str(e.value)


def test_a_row_that_is_there_twice_is_named(dataset):
    layout, ok, _ = dataset
    table = pq.read_table(ok)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), ok)

    with pytest.raises(JobError, match="1 uris have more than one row") as e:
        balance(layout, Storage(), run_here)
    assert f"among them {table['uri'][0].as_py()}; run" in str(e.value)


def test_an_object_that_is_both_labelled_and_an_error_is_noticed(dataset):
    layout, ok, error = dataset
    shutil.copy(error, ok)

    with pytest.raises(JobError, match="4 uris have more than one row"):
        balance(layout, Storage(), run_here)


def test_a_row_that_nobody_asked_for_is_named(dataset):
    layout, ok, _ = dataset
    table = pq.read_table(ok)
    column = table.schema.get_field_index("uri")
    uris = pa.array(["s3://b/stranger.jpg", *table["uri"].to_pylist()[1:]])
    pq.write_table(table.set_column(column, table.schema.field(column), uris), ok)

    with pytest.raises(JobError, match="listed and have no row"):
        balance(layout, Storage(), run_here)
    pq.write_table(pa.concat_tables([pq.read_table(ok), table.slice(0, 1)]), ok)
    with pytest.raises(JobError, match=r"not listed, among them s3://b/stranger\.jpg"):
        balance(layout, Storage(), run_here)


def test_a_part_s_errors_are_counted_by_kind(dataset):
    _, ok, error = dataset

    account = read_account((str(ok), str(error)))

    assert len(account.uris) == 8
    assert account.errors == {"unreadable": 2, "too_large": 1, "not_an_image": 1}
    assert account.not_images == {".txt": 1}
