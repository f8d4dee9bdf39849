import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from jobs.inputs.fetch import fetch_images
from tests.support.files import put_files
from tests.support.images import encode, photo
from tests.support.inputs import read_all, uris_of, write_parquet

PNG = encode(photo(8, 8), "PNG")


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
    path = write_parquet(tmp_path / "i.parquet", uri=["a", "b", "a"], image=[PNG, None, PNG])
    source = open_source(path, storage)
    rows = read_all(source, storage)
    assert (source.kind, source.carried.names, source.duplicates) == ("parquet", [], 1)
    assert (rows["uri"].to_pylist(), rows["row"].to_pylist()) == (["a", "b"], [0, 1])
    assert open_source(path, storage, input_format="manifest").kind == "manifest"


def test_uris_may_be_binary_as_old_writers_have_them(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", uri=[b"a", b"b"], image=[PNG, PNG])
    rows = read_all(open_source(path, storage), storage)
    assert (rows["uri"].to_pylist(), rows["row"].to_pylist()) == (["a", "b"], [0, 1])
    images = fetch_images(storage, rows)
    assert [image.data for _, image in images] == [PNG, PNG]


def test_binary_column_beside_uris_that_holds_no_images_is_carried(tmp_path, storage):
    path = write_parquet(tmp_path / "i.parquet", uri=["a", "b"], md5=[None, b"1"])
    source = open_source(path, storage)
    assert (source.kind, source.carried.names) == ("manifest", ["md5"])
    assert open_source(path, storage, image_column="md5").kind == "parquet"
    several = write_parquet(tmp_path / "s.parquet", uri=["a"], md5=[b"1"], image=[PNG])
    with pytest.raises(SpecError, match="choose with --image-column: md5, image"):
        open_source(several, storage)


def test_parquet_files_without_images_are_refused(tmp_path, storage):
    path = write_parquet(tmp_path / "m.parquet", uri=["a"])
    with pytest.raises(SpecError, match=r"m.parquet has no binary column; its columns are uri"):
        open_source(path, storage, input_format="parquet")


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
    with pytest.raises(SpecError, match="neither a 'uri' nor a binary column; its columns are n"):
        open_source(write_parquet(tmp_path / "n.parquet", n=[1]), storage)


def test_folder_of_parquet_files_gives_their_rows_in_order(tmp_path, storage):
    write_parquet(tmp_path / "b.parquet", image=[b"3"])
    write_parquet(tmp_path / "a.parquet", image=[b"1", b"2"])
    assert uris_of(str(tmp_path), storage, f"file://{tmp_path}") == [
        "a.parquet#0",
        "a.parquet#1",
        "b.parquet#0",
    ]
    put_files(tmp_path, "cat.jpg")
    named = uris_of(str(tmp_path), storage, f"file://{tmp_path}", image_column="image")
    assert named == ["a.parquet#0", "a.parquet#1", "b.parquet#0"]


@pytest.mark.parametrize("lacking", ["image", "uri"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_parquet_file_without_image_or_uri_is_named(tmp_path, storage, lacking, name):
    columns = {"uri": ["x"], "image": [PNG], "n": [1]}
    write_parquet(tmp_path / "a.parquet", **columns)
    write_parquet(tmp_path / "b.parquet", **columns)
    write_parquet(
        tmp_path / f"{name}.parquet", **{k: v for k, v in columns.items() if k != lacking}
    )
    with pytest.raises(SpecError, match=rf"{name}.parquet has no column '{lacking}', which other"):
        open_source(str(tmp_path), storage)
