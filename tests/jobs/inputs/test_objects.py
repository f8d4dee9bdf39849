from jobs.inputs import open_source
from tests.support.files import put_files
from tests.support.inputs import read_all


def test_folder_gives_a_row_per_object_with_size_and_etag(tmp_path, storage):
    put_files(tmp_path, "b.jpg", "a/c.jpg", "a/readme.txt")
    source = open_source(str(tmp_path), storage)
    assert (source.kind, source.carried.names, source.duplicates) == ("objects", [], 0)
    rows = read_all(source, storage).to_pylist()
    assert [row["uri"] for row in rows] == [
        f"file://{tmp_path}/{name}" for name in ("a/c.jpg", "a/readme.txt", "b.jpg")
    ]
    stored = storage.head(rows[0]["uri"])
    assert rows[0] == {
        "uri": stored.uri, "location": stored.uri, "offset": None, "row": None,
        "size": stored.size, "etag": stored.etag,
    }  # fmt: skip


def test_broken_link_is_a_row_of_unknown_size(tmp_path, storage):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (row,) = read_all(open_source(str(tmp_path), storage), storage).to_pylist()
    assert (row["size"], row["etag"]) == (None, None)


def test_more_than_a_thousand_objects_come_in_several_tables(tmp_path, storage):
    put_files(tmp_path, *(f"{number:04}.jpg" for number in range(1001)))
    tables = list(open_source(str(tmp_path), storage).tables(storage))
    assert [table.num_rows for table in tables] == [1000, 1]
