import pyarrow as pa
import pytest

from jobs.errors import SpecError
from jobs.inputs import OBJECT_SCHEMA, open_source
from tests.support.files import put_files
from tests.support.inputs import read_all, write_parquet, write_text


def test_csv_values_are_carried_letter_for_letter(tmp_path, storage):
    path = write_text(
        tmp_path / "m.csv",
        '\ufeffid,uri,note\n007,a.jpg,NA\n1.50,s3://b/c d%41.jpg,"x,\n""y"""\n,/abs.jpg,\n',
    )
    source = open_source(path, storage)
    assert (source.kind, source.carried.names) == ("manifest", ["id", "note"])
    rows = read_all(source, storage)
    assert rows["uri"].to_pylist() == ["a.jpg", "s3://b/c d%41.jpg", "/abs.jpg"]
    assert rows["location"].to_pylist() == [
        f"file://{tmp_path}/a.jpg", "s3://b/c d%41.jpg", "file:///abs.jpg",
    ]  # fmt: skip
    assert rows["id"].to_pylist() == ["007", "1.50", ""]
    assert rows["note"].to_pylist() == ["NA", 'x,\n"y"', ""]
    assert rows["size"].null_count == 3


def test_jsonl_columns_have_types_of_their_own(tmp_path, storage):
    path = write_text(
        tmp_path / "m.jsonl",
        '{"uri":"./a.jpg","n":1,"day":"2024-01-01","tags":["x"]}\n\n{"uri":"b/../c.jpg","n":null}\n',
    )
    rows = read_all(open_source(path, storage), storage)
    assert rows["location"].to_pylist() == [
        f"file://{tmp_path}/a.jpg",
        f"file://{tmp_path}/b/../c.jpg",
    ]
    assert rows["n"].to_pylist() == [1, None]
    assert rows["day"].to_pylist() == ["2024-01-01", None]
    assert rows["tags"].to_pylist() == [["x"], None]


def test_parquet_manifest_carries_typed_columns(tmp_path, storage):
    path = write_parquet(
        tmp_path / "m.parquet", uri=["a", "b", "c"], n=pa.array([1, None, 3], pa.int16())
    )
    source = open_source(path, storage)
    assert source.kind == "manifest"
    assert source.carried == pa.schema([("n", pa.int16())])
    assert read_all(source, storage)["n"].to_pylist() == [1, None, 3]


def test_folder_of_manifests_is_one_whose_uris_start_beside_it(tmp_path, storage):
    (tmp_path / "m.parquet").mkdir()
    write_parquet(tmp_path / "m.parquet" / "b.parquet", uri=["./b.jpg", "a.jpg"])
    write_parquet(tmp_path / "m.parquet" / "a.parquet", uri=["a.jpg"])
    source = open_source(f"{tmp_path}/m.parquet/", storage)
    assert read_all(source, storage)["location"].to_pylist() == [
        f"file://{tmp_path}/a.jpg",
        f"file://{tmp_path}/b.jpg",
    ]
    assert source.duplicates == 1
    (rows,) = open_source(f"{tmp_path}/m.parquet/a*", storage).tables(storage)
    assert rows["location"].to_pylist() == [f"file://{tmp_path}/m.parquet/a.jpg"]


def test_uris_of_a_manifest_among_images_start_beside_it(tmp_path, storage):
    put_files(tmp_path, "photos/a.jpg")
    write_text(tmp_path / "photos" / "m.csv", "uri\na.jpg\n")
    source = open_source(f"{tmp_path}/photos", storage, input_format="manifest")
    assert read_all(source, storage)["location"].to_pylist() == [f"file://{tmp_path}/photos/a.jpg"]


def test_whole_bucket_of_manifests_names_what_lies_in_it(s3_bucket, storage):
    storage.write(f"s3://{s3_bucket}/m.csv", b"uri\na.jpg\n")
    (rows,) = open_source(f"s3://{s3_bucket}/", storage).tables(storage)
    assert rows["location"].to_pylist() == [f"s3://{s3_bucket}/a.jpg"]


def test_uris_may_be_written_in_every_way(tmp_path, storage, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    uris = ["~/a.jpg", "s3a://b/k%41", "file:/x/a", "file://localhost/x/b", "file:///x/a%20b", "~a"]
    path = write_text(tmp_path / "m.txt", "\n".join(uris))
    rows = read_all(open_source(path, storage), storage)
    assert rows["uri"].to_pylist() == uris
    assert rows["location"].to_pylist() == [
        "file:///home/me/a.jpg", "s3://b/k%41", "file:///x/a", "file:///x/b", "file:///x/a b",
        f"file://{tmp_path}/~a",
    ]  # fmt: skip


def test_manifest_on_s3_resolves_against_its_folder(s3_bucket, storage):
    storage.write(f"s3://{s3_bucket}/in/m.csv", b"uri\na.jpg\n")
    (row,) = read_all(open_source(f"s3://{s3_bucket}/in/m.csv", storage), storage).to_pylist()
    assert (row["uri"], row["location"]) == ("a.jpg", f"s3://{s3_bucket}/in/a.jpg")


def test_columns_that_clash_with_ours_are_renamed(tmp_path, storage):
    path = write_text(
        tmp_path / "m.csv", "uri,label,input_label,size,features_x,mine\na,1,2,3,4,5\n"
    )
    (row,) = read_all(open_source(path, storage), storage).to_pylist()
    assert row["size"] is None
    carried = {name: value for name, value in row.items() if name not in OBJECT_SCHEMA.names}
    assert carried == {
        "input_input_label": "1", "input_label": "2", "input_size": "3", "input_features_x": "4",
        "mine": "5",
    }  # fmt: skip


def test_later_duplicates_are_dropped_and_counted(tmp_path, storage):
    uris = [f"{number}.jpg" for number in range(3000)] + ["5.jpg", "2999.jpg", "new.jpg", "new.jpg"]
    path = write_text(
        tmp_path / "m.csv", "uri,n\n" + "".join(f"{u},{n}\n" for n, u in enumerate(uris))
    )
    source = open_source(path, storage)
    rows = read_all(source, storage)
    assert rows["uri"].to_pylist() == [*uris[:3000], "new.jpg"]
    assert rows["n"].to_pylist()[-1] == "3002"
    assert source.duplicates == 3
    read_all(source, storage)
    assert source.duplicates == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('a\nb\n""\n', "row 3 of .* has no uri"),
        ("a\nhttps://x/y.jpg\n", "row 2 of .*https://x/y.jpg.*web addresses cannot be read"),
        ("gs://b/x\n", "row 1 of .* names what cannot be read: unsupported scheme 'gs://'"),
        ("", "manifest .* is empty"),
        ("a\nb,c\n", "row 2 of .* has 2 values, but the header 1 names"),
    ],
)
def test_bad_manifest_rows_are_named(tmp_path, storage, rows, message):
    path = write_text(tmp_path / "m.csv", f"uri\n{rows}")
    with pytest.raises(SpecError, match=message):
        read_all(open_source(path, storage), storage)


def test_null_uri_in_jsonl_is_named(tmp_path, storage):
    path = write_text(tmp_path / "m.jsonl", '{"uri":"a"}\n{"uri":null}\n')
    with pytest.raises(SpecError, match=r"row 2 of .* has no uri"):
        read_all(open_source(path, storage), storage)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "url,b\nx,y\n", "has no 'uri' column; its columns are url, b"),
        ("m.csv", "uri,b,b\nx,y,z\n", "more than one column named 'b'"),
        ("m.csv", "", "m.csv is empty; its first line has to name the columns"),
        ("m.jsonl", "not json\n", "row 1 of .* is no JSON: expecting value at character 1"),
        ("m.jsonl", "[1]\n", "row 1 of .* is no JSON object; each line has to be one"),
        ("m.tsv", "\n\n", "m.tsv is empty"),
        ("m.parquet", "not parquet", "cannot read .* as a table"),
    ],
)
def test_bad_manifests_are_refused_at_once(tmp_path, storage, name, text, message):
    with pytest.raises(SpecError, match=message):
        open_source(write_text(tmp_path / name, text), storage)


def test_relative_uri_that_looks_encoded_names_that_file(tmp_path, storage):
    (tmp_path / "a%FF.jpg").write_bytes(b"1")
    source = open_source(write_text(tmp_path / "list.txt", "a%FF.jpg\n"), storage)
    (location,) = read_all(source, storage)["location"].to_pylist()
    assert storage.read(location).data == b"1"
