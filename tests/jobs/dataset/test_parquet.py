"""Files of ours: read in groups, refused when damaged, written as they grow."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.dataset import parquet
from jobs.dataset.parquet import BufferedParquetWriter, group_sizes, read_groups
from jobs.errors import StorageError
from jobs.storage import Storage

STORAGE = Storage()


@pytest.fixture
def file(tmp_path):
    """A file of three row groups."""
    table = pa.table({"uri": [f"s3://b/{n}" for n in range(30)], "n": range(30)})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True, compression="none")
    return path


def test_groups_come_in_order_with_the_columns_that_are_there(file):
    tables = list(read_groups(STORAGE, str(file), ("uri", "not there")))

    assert [table.num_rows for table in tables] == [10, 10, 10]
    assert pa.concat_tables(tables).column_names == ["uri"]
    assert group_sizes(STORAGE, str(file)) == [10, 10, 10]
    (last,) = read_groups(STORAGE, str(file), groups=[2])
    assert last["n"].to_pylist() == list(range(20, 30))


@pytest.mark.parametrize("small_bytes", [0, 1 << 20], ids=["by ranges", "whole"])
def test_a_damaged_page_or_footer_is_named(file, monkeypatch, small_bytes):
    monkeypatch.setattr(parquet, "_SMALL_BYTES", small_bytes)
    whole = file.read_bytes()
    for place in (whole.index(b"s3://b/15"), len(whole) - 60):
        file.write_bytes(whole[:place] + b"\0\xff" + whole[place + 2 :])
        if small_bytes and place < len(whole) - 60:
            continue  # read whole, a file is as good as the storage says
        with pytest.raises(StorageError, match=r"rows\.parquet is damaged: "):
            list(read_groups(STORAGE, str(file)))


def test_what_was_damaged_on_its_way_is_read_again(file, monkeypatch):
    monkeypatch.setattr(parquet, "_SMALL_BYTES", 0)
    whole, read, damaged = file.read_bytes(), Storage.read, []

    def spoil_once(self, uri, **span):
        fetched = read(self, uri, **span)
        place = whole.index(b"s3://b/15") - (span.get("offset") or 0)
        if damaged or not 0 <= place < len(fetched.data):
            return fetched
        damaged.append(place)
        data = fetched.data[:place] + b"\0" + fetched.data[place + 1 :]
        return type(fetched)(data, fetched.etag)

    monkeypatch.setattr(Storage, "read", spoil_once)

    rows = pa.concat_tables(read_groups(STORAGE, str(file)))

    assert damaged
    assert rows["n"].to_pylist() == list(range(30))


def test_a_file_grows_in_groups_and_appears_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 1000)
    path = tmp_path / "grown.parquet"

    with BufferedParquetWriter(STORAGE, str(path)) as growing:
        for start in range(0, 600, 100):
            growing.add(pa.table({"n": range(start, start + 100)}))
        assert not path.exists()

    assert pq.read_table(path)["n"].to_pylist() == list(range(600))
    assert pq.read_metadata(path).num_row_groups == 3


def test_no_rows_make_no_file_and_take_an_earlier_one_away(tmp_path):
    path = tmp_path / "grown.parquet"
    path.write_bytes(b"of a commit that did not end")

    with BufferedParquetWriter(STORAGE, str(path)) as growing:
        growing.add(pa.table({"n": pa.array([], pa.int64())}))

    assert not path.exists()


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "grown.parquet"
    path.write_bytes(b"as before")

    with pytest.raises(AttributeError), BufferedParquetWriter(STORAGE, str(path)) as growing:
        growing.add("not a table")

    assert path.read_bytes() == b"as before"
