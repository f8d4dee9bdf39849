import pytest

from jobs.commit.generation import check_output
from jobs.errors import SpecError
from jobs.storage import Storage


def test_rows_of_another_program_are_not_mixed_with_ours(photos, tmp_path, make_job):
    job = make_job(photos, tmp_path / "out")
    (tmp_path / "out" / "outcome=ok").mkdir(parents=True)
    (tmp_path / "out" / "outcome=ok" / "theirs.parquet").write_bytes(b"x")

    with pytest.raises(SpecError, match="holds files of another program"):
        check_output(job, None, Storage())
