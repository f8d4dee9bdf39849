import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from tests.support.files import put_files
from tests.support.inputs import read_all, uris_of, write_parquet


def test_only_binary_column_holds_the_images(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", image=[b"1", b"2", None], label=["x", "y", "z"])
    source = open_source(path, storage)
    assert (source.kind, source.carried.names) == ("parquet", ["input_label"])
    rows = read_all(source, storage)
    assert rows["uri"].to_pylist() == [f"file://{path}#{number}" for number in range(3)]
    assert rows["location"].to_pylist() == [f"file://{path}"] * 3
    assert rows["row"].to_pylist() == [0, 1, 2]
    assert rows["etag"].to_pylist() == [storage.head(path).etag] * 3


def test_uri_column_names_the_rows_of_images(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", uri=["a", "b", "a"], image=[b"1", b"2", b"3"])
    assert open_source(path, storage).kind == "manifest"
    source = open_source(path, storage, image_column="image")
    rows = read_all(source, storage)
    assert (rows["uri"].to_pylist(), rows["row"].to_pylist()) == (["a", "b"], [0, 1])
    assert source.duplicates == 1


def test_hugging_face_struct_holds_images(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", img=[{"bytes": b"1", "path": "a.jpg"}], n=[1])
    source = open_source(path, storage)
    assert (source.kind, source.carried.names) == ("parquet", ["n"])
    assert read_all(source, storage).num_rows == 1


def test_several_binary_columns_need_a_choice(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", a=[b"1"], b=[b"2"], c=["x"])
    with pytest.raises(
        SpecError, match=r"more than one binary column; choose with --image-column: a, b"
    ):
        open_source(path, storage)
    assert open_source(path, storage, image_column="b").carried.names == ["a", "c"]
    with pytest.raises(SpecError, match=r"column 'c' .* is not binary; binary columns are: a, b"):
        open_source(path, storage, image_column="c")
    with pytest.raises(
        SpecError, match="neither a 'uri' column nor a binary one; its columns are n"
    ):
        open_source(write_parquet(tmp_path / "n.parquet", n=[1]), storage)


def test_folder_of_parquet_files_gives_their_rows_in_order(tmp_path, storage):
    write_parquet(tmp_path / "b.parquet", image=[b"3"])
    write_parquet(tmp_path / "a.parquet", image=[b"1", b"2"])
    assert uris_of(str(tmp_path), storage, f"file://{tmp_path}") == [
        "a.parquet#0",
        "a.parquet#1",
        "b.parquet#0",
    ]
    put_files(tmp_path, "_SUCCESS")
    named = uris_of(str(tmp_path), storage, f"file://{tmp_path}", image_column="image")
    assert named == ["a.parquet#0", "a.parquet#1", "b.parquet#0"]


def test_parquet_file_with_other_columns_is_named(tmp_path, storage):
    write_parquet(tmp_path / "a.parquet", image=[b"1"], n=[1])
    write_parquet(tmp_path / "b.parquet", image=[b"2"])
    with pytest.raises(SpecError, match=r"b.parquet has no column 'n', which .*a.parquet has"):
        read_all(open_source(f"{tmp_path}/*.parquet", storage), storage)
