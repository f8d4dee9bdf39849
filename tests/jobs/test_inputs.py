import gzip
import io
import pickle
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError, SpecError
from jobs.inputs import OBJECT_SCHEMA, open_source
from jobs.inputs.objects import translate_glob
from jobs.storage import Storage


@pytest.fixture
def storage() -> Storage:
    return Storage()


def put_files(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


def read_all(source, storage: Storage) -> pa.Table:
    tables = list(source.tables(storage))
    assert all(table.num_rows <= 1000 for table in tables)
    assert all(table.schema.names == OBJECT_SCHEMA.names + source.carried.names for table in tables)
    return pa.concat_tables(tables)


def labelled(text: str, storage: Storage, root: str, **options) -> list[str]:
    """The uris that an input gives, without their root."""
    uris = read_all(open_source(text, storage, **options), storage)["uri"].to_pylist()
    return [uri.removeprefix(f"{root}/") for uri in uris]


def write_text(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def write_tar(path: Path, members: dict[str, bytes], **options) -> str:
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def write_parquet(path: Path, **columns) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)


# folders and globs


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


@pytest.mark.parametrize(
    ("glob", "matches"),
    [
        ("*.jpg", ["a.jpg", "ab.jpg"]),
        ("a?.jpg", ["ab.jpg"]),
        ("*/c.jpg", ["x/c.jpg"]),
        ("**/c.jpg", ["c/d/c.jpg", "x/c.jpg"]),
        ("**.jpg", ["a.jpg", "ab.jpg", "c/d/c.jpg", "x/c.jpg"]),
        ("[!a]*", ["d.JPG"]),
        ("[a-c][a-b].jpg", ["ab.jpg"]),
        ("x/*.[jp]*", ["x/c.jpg", "x/e.png"]),
        ("c/**", ["c/d/c.jpg"]),
    ],
)
def test_glob_takes_what_a_shell_would(tmp_path, storage, glob, matches):
    put_files(tmp_path, "a.jpg", "ab.jpg", "d.JPG", "x/c.jpg", "x/e.png", "c/d/c.jpg")
    assert labelled(f"{tmp_path}/{glob}", storage, f"file://{tmp_path}") == matches


def test_literal_path_with_glob_characters_is_no_glob(tmp_path, storage):
    put_files(tmp_path, "a[1].jpg", "a1.jpg", "set[2]/x.jpg")
    assert labelled(f"{tmp_path}/a[1].jpg", storage, f"file://{tmp_path}") == ["a[1].jpg"]
    assert labelled(f"{tmp_path}/set[2]", storage, f"file://{tmp_path}") == ["set[2]/x.jpg"]


def test_unclosed_bracket_and_dots_are_literal():
    assert translate_glob("a[b.jpg") == r"a\[b\.jpg"


def test_s3_prefix_and_glob(s3_bucket, storage):
    for key in ("photos/a.jpg", "photos/b/c.jpg", "photos/d.png", "photos2/e.jpg"):
        storage.write(f"s3://{s3_bucket}/{key}", b"x")
    root = f"s3://{s3_bucket}"
    assert labelled(f"{root}/photos", storage, root) == [
        "photos/a.jpg",
        "photos/b/c.jpg",
        "photos/d.png",
    ]
    assert labelled(f"{root}/photos/*.jpg", storage, root) == ["photos/a.jpg"]
    assert labelled(f"{root}/ph*s?/*", storage, root) == ["photos2/e.jpg"]
    assert len(labelled(root, storage, root)) == 4


def test_missing_input_says_so(tmp_path, storage):
    with pytest.raises(SpecError, match=r"input '.*none' does not exist"):
        open_source(f"{tmp_path}/none", storage)
    with pytest.raises(SpecError, match="does not exist or is empty"):
        open_source(str(tmp_path), storage)
    with pytest.raises(SpecError, match=r"matches nothing under file://"):
        open_source(f"{tmp_path}/*.jpg", storage)


def test_missing_s3_input_says_whether_the_bucket_is_there(s3_bucket, storage):
    with pytest.raises(SpecError, match="does not exist: the bucket has no object there"):
        open_source(f"s3://{s3_bucket}/none/", storage)
    with pytest.raises(SpecError, match="does not exist: bucket 'never-made' does not exist"):
        open_source("s3://never-made/photos/", storage)


def test_glob_in_the_bucket_name_is_refused(s3_environment, storage):
    with pytest.raises(SpecError, match="must name its bucket"):
        open_source("s3://*/photos", storage)


# manifests


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


def test_jsonl_columns_are_those_of_the_first_rows(tmp_path, storage):
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
        ("gs://b/x\n", "row 1 of .*unsupported scheme 'gs://'"),
        ("", "manifest .* is empty"),
        ("a\nb,c\n", "cannot read .*Expected 1 columns, got 2"),
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
        ("m.csv", "", "cannot read .*Empty CSV file"),
        ("m.jsonl", "not json\n", "cannot read .* as a table"),
        ("m.parquet", "not parquet", "cannot read .* as a table"),
    ],
)
def test_bad_manifests_are_refused_at_once(tmp_path, storage, name, text, message):
    with pytest.raises(SpecError, match=message):
        open_source(write_text(tmp_path / name, text), storage)


# Parquet with images


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
    assert labelled(str(tmp_path), storage, f"file://{tmp_path}") == [
        "a.parquet#0",
        "a.parquet#1",
        "b.parquet#0",
    ]
    put_files(tmp_path, "_SUCCESS")
    named = labelled(str(tmp_path), storage, f"file://{tmp_path}", image_column="image")
    assert named == ["a.parquet#0", "a.parquet#1", "b.parquet#0"]


def test_parquet_file_with_other_columns_is_named(tmp_path, storage):
    write_parquet(tmp_path / "a.parquet", image=[b"1"], n=[1])
    write_parquet(tmp_path / "b.parquet", image=[b"2"])
    with pytest.raises(SpecError, match=r"b.parquet has no column 'n', which .*a.parquet has"):
        read_all(open_source(f"{tmp_path}/*.parquet", storage), storage)


def test_image_column_without_parquet_is_refused(tmp_path, storage):
    put_files(tmp_path, "a.jpg")
    with pytest.raises(SpecError, match="--image-column is for Parquet files"):
        open_source(str(tmp_path), storage, image_column="image")


# tar shards


def test_tar_members_with_image_extensions_are_rows(tmp_path, storage):
    members = {
        "a.jpg": b"one",
        "a.json": b"{}",
        "d/b.PNG": b"x" * 3000,
        "c.tiff": b"",
        "e.cls": b"1",
    }
    path = write_tar(tmp_path / "s.tar", members)
    source = open_source(path, storage)
    assert source.kind == "webdataset"
    rows = read_all(source, storage).to_pylist()
    assert [row["uri"] for row in rows] == [
        f"file://{path}#{name}" for name in ("a.jpg", "d/b.PNG", "c.tiff")
    ]
    data = Path(path).read_bytes()
    assert [data[row["offset"] : row["offset"] + row["size"]] for row in rows] == [
        b"one",
        b"x" * 3000,
        b"",
    ]
    assert {(row["location"], row["etag"]) for row in rows} == {
        (f"file://{path}", storage.head(path).etag)
    }


def test_shards_are_scanned_in_order_and_names_may_come_again_in_another(tmp_path, storage):
    for shard in range(20):
        write_tar(tmp_path / f"{shard:02}.tar", {"a.jpg": b"1", "b.jpg": b"2"})
    expected = [f"{shard:02}.tar#{name}.jpg" for shard in range(20) for name in "ab"]
    assert labelled(str(tmp_path), storage, f"file://{tmp_path}") == expected
    assert labelled(f"{tmp_path}/1*.tar", storage, f"file://{tmp_path}") == expected[20:]


def test_folder_with_more_than_tars_is_just_objects(tmp_path, storage):
    write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    put_files(tmp_path, "b.jpg")
    assert open_source(str(tmp_path), storage).kind == "objects"


def test_member_twice_in_a_shard_is_counted_once(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    source = open_source(path, storage)
    assert read_all(source, storage).num_rows == 1
    assert source.duplicates == 1


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_member_names_survive(tmp_path, storage, layout):
    names = ["ü" * 40 + ".jpg", "a#b %41.jpg", "d/" * 30 + "x.jpg"]
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"1"), format=layout)
    assert labelled(path, storage, f"file://{tmp_path}") == [f"a.tar#{name}" for name in names]


def test_member_name_that_is_not_utf8_is_percent_encoded(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"b\udcff.jpg": b"1"}, format=tarfile.GNU_FORMAT)
    assert labelled(path, storage, f"file://{tmp_path}") == ["a.tar#b%FF.jpg"]


def test_tar_on_s3_is_scanned_by_ranges(s3_bucket, storage, tmp_path):
    rng = random.Random(3)
    path = write_tar(
        tmp_path / "a.tar", {f"{n}.jpg": rng.randbytes(rng.choice([9, 2 << 20])) for n in range(6)}
    )
    storage.upload(f"s3://{s3_bucket}/a.tar", Path(path))
    there = read_all(open_source(f"s3://{s3_bucket}/a.tar", storage), storage)
    here = read_all(open_source(path, storage), storage)
    assert there.select(["offset", "size"]) == here.select(["offset", "size"])


@pytest.mark.parametrize("extension", ["tar.gz", "tgz"])
def test_compressed_tar_is_refused_with_the_remedy(tmp_path, storage, extension):
    put_files(tmp_path, f"a.{extension}")
    with pytest.raises(SpecError, match=r"not seekable; unpack or recompress as plain .tar"):
        open_source(f"{tmp_path}/a.{extension}", storage)


def test_compressed_tar_in_disguise_is_refused(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    Path(path).write_bytes(gzip.compress(Path(path).read_bytes()))
    with pytest.raises(SpecError, match="not seekable"):
        read_all(open_source(path, storage), storage)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\x01" * 100 + data[100:],
        lambda data: data[:1024] + b"\x01" * 512 + data[1536:],
        lambda data: data[:1700],
        lambda data: data[:1200],
        lambda data: data[:2560],
        lambda data: b"not a tar",
    ],
    ids=["first header", "second header", "cut in a body", "cut in a header", "cut body", "text"],
)
def test_damaged_tar_is_named_and_loses_nothing_silently(tmp_path, storage, damage):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1" * 512, "b.jpg": b"2" * 2000})
    Path(path).write_bytes(damage(Path(path).read_bytes()))
    with pytest.raises(JobError, match=r"tar file file://.*a\.tar is damaged"):
        read_all(open_source(path, storage), storage)


def test_tar_without_images_is_empty(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.txt": b"1"})
    with pytest.raises(SpecError, match="is empty"):
        read_all(open_source(path, storage), storage)


def test_sources_can_be_pickled(tmp_path, storage):
    write_text(tmp_path / "m.csv", "uri\na\n")
    write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    write_parquet(tmp_path / "i.parquet", image=[b"1"])
    for name in ("m.csv", "a.tar", "i.parquet", ""):
        source = open_source(f"{tmp_path}/{name}", storage)
        assert pickle.loads(pickle.dumps(source)) == source
