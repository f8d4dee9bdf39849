import pickle

import pytest

from jobs.errors import SpecError
from jobs.inputs import open_source
from jobs.storage import resolve_uri
from tests.support.files import put_files
from tests.support.inputs import write_parquet, write_tar, write_text


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


def test_prefix_on_s3_may_be_named_as_hadoop_does(s3_bucket, storage):
    storage.write(f"s3://{s3_bucket}/photos/a.jpg", b"1")
    (rows,) = open_source(f"s3a://{s3_bucket}/photos", storage).tables(storage)
    assert rows["uri"].to_pylist() == [f"s3://{s3_bucket}/photos/a.jpg"]


def test_local_input_may_be_a_uri_with_escapes(tmp_path, storage):
    put_files(tmp_path, "a b/c.jpg")
    for text in (f"file:{tmp_path}/a%20b", f"file://localhost{tmp_path}/a%20b/*.jpg"):
        (rows,) = open_source(resolve_uri(text), storage).tables(storage)
        assert rows["uri"].to_pylist() == [f"file://{tmp_path}/a b/c.jpg"]


def test_glob_may_have_what_looks_like_an_escape(tmp_path, storage):
    put_files(tmp_path, "a%20b/c%20d.jpg")
    (rows,) = open_source(resolve_uri(f"{tmp_path}/a%20b/c%20*"), storage).tables(storage)
    assert rows["uri"].to_pylist() == [f"file://{tmp_path}/a%20b/c%20d.jpg"]


def test_image_column_without_parquet_is_refused(tmp_path, storage):
    put_files(tmp_path, "a.jpg")
    with pytest.raises(SpecError, match="--image-column is for Parquet files"):
        open_source(str(tmp_path), storage, image_column="image")


@pytest.mark.parametrize("extension", ["tar.gz", "tgz"])
def test_compressed_tar_is_refused_with_the_remedy(tmp_path, storage, extension):
    put_files(tmp_path, f"a.{extension}")
    with pytest.raises(SpecError, match=r"not seekable; unpack or recompress as plain .tar"):
        open_source(f"{tmp_path}/a.{extension}", storage)


def test_sources_can_be_pickled(tmp_path, storage):
    write_text(tmp_path / "m.csv", "uri\na\n")
    write_tar(tmp_path / "a.tar", {"a.jpg": b"1"})
    write_parquet(tmp_path / "i.parquet", image=[b"1"])
    for name in ("m.csv", "a.tar", "i.parquet", "m*"):
        source = open_source(f"{tmp_path}/{name}", storage)
        assert pickle.loads(pickle.dumps(source)) == source
