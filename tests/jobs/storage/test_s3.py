import hashlib
import os
import random
from functools import partial

import pytest

from jobs.errors import FetchError, StorageError
from jobs.storage import NoBucketError
from jobs.storage import objects as stored_objects
from jobs.storage.clients import s3_clients
from tests.support.files import names

# keys that S3 servers store and clients like to change; SeaweedFS itself folds '//' into '/'
ODD_KEYS = [
    *(
        "a b.jpg",
        "ünï.jpg",
        "u\u0308.jpg",
        "日本.jpg",
        "😀.jpg",
        "x#1.jpg",
        "q?x=1.jpg",
        "p%41.jpg",
    ),
    *("p%2F.jpg", "100%.jpg", "plus+.jpg", "trail.", "star*.jpg", "br[1].jpg", '<x>&".jpg'),
    *("tab\t.jpg", "newline\n.jpg", "ctl\x01.jpg", " lead", "trail ", "a=b,c;d:e@f$g!h'(i)|^`{}~"),
]


def test_s3_prefix_means_the_folder_with_or_without_slash(s3_bucket, storage):
    for key in ("photos/a.jpg", "photos/b/c.jpg", "photos-old/d.jpg", "photos.jpg"):
        storage.write(f"s3://{s3_bucket}/{key}", b"x")
    for uri in ("photos", "photos/"):
        listed = names(storage.list(f"s3://{s3_bucket}/{uri}"), f"s3://{s3_bucket}")
        assert listed == ["photos/a.jpg", "photos/b/c.jpg"]
    listed = names(storage.list(f"s3://{s3_bucket}/photos.jpg"), f"s3://{s3_bucket}")
    assert listed == ["photos.jpg"]
    assert list(storage.list(f"s3://{s3_bucket}/nothing")) == []
    listed = storage.list(f"s3://{s3_bucket}", starts_with="photos-")
    assert names(listed, f"s3://{s3_bucket}") == ["photos-old/d.jpg"]


def test_s3_folder_placeholders_are_not_objects(s3_bucket, s3_client, storage):
    s3_client.put_object(Bucket=s3_bucket, Key="photos/", Body=b"")
    storage.write(f"s3://{s3_bucket}/photos/a.jpg", b"x")
    listed = names(storage.list(f"s3://{s3_bucket}/photos/"), f"s3://{s3_bucket}")
    assert listed == ["photos/a.jpg"]


def test_s3_keys_come_back_letter_for_letter(s3_bucket, storage):
    for key in ODD_KEYS:
        storage.write(f"s3://{s3_bucket}/{key}", key.encode())
    listed = list(storage.list(f"s3://{s3_bucket}"))
    assert sorted(names(listed, f"s3://{s3_bucket}")) == sorted(ODD_KEYS)
    for stored in listed:
        fetched = storage.read(stored.uri, expected_size=stored.size, expected_etag=stored.etag)
        assert fetched.data.decode() == stored.uri.removeprefix(f"s3://{s3_bucket}/")
        assert fetched.etag == stored.etag
        assert storage.head(stored.uri) == stored
    storage.delete(stored.uri for stored in listed)
    assert list(storage.list(f"s3://{s3_bucket}")) == []


def test_s3_delete_takes_any_number_of_keys(s3_bucket, storage, monkeypatch):
    uris = [f"s3://{s3_bucket}/{number}" for number in range(7)]
    storage.write(uris[0], b"x")
    storage.write(uris[6], b"x")
    monkeypatch.setattr("jobs.storage.s3._DELETE_BATCH", 3)
    storage.delete(iter(uris))
    assert list(storage.list(f"s3://{s3_bucket}/")) == []


@pytest.mark.parametrize("key", ["a//b", "/a", "./a", "a/../b", "tab\t", "a/"])
def test_keys_that_obstore_would_change_never_reach_it(s3_bucket, storage, monkeypatch, key):
    def never(*_):
        raise AssertionError("obstore was asked")

    monkeypatch.setattr("jobs.storage.s3_reads._read_with_obstore", never)
    with pytest.raises(FetchError):
        storage.read(f"s3://{s3_bucket}/{key}")


def test_s3_ranges_and_files_are_read_exactly(s3_bucket, storage):
    data = random.Random(7).randbytes(300_000)
    for key in ("plain", "tab\tkey"):
        uri = f"s3://{s3_bucket}/{key}"
        storage.write(uri, data)
        assert storage.read(uri, offset=1000, expected_size=5).data == data[1000:1005]
        assert storage.read(uri, offset=299_990).data == data[-10:]
    with storage.open(uri, buffer_bytes=1000) as file:
        assert file.read(10) == data[:10]
        file.seek(200_000)
        assert file.read() == data[200_000:]


def test_s3_upload_of_a_large_file_is_whole(s3_bucket, storage, tmp_path):
    data = random.Random(7).randbytes(11 << 20)
    (tmp_path / "large").write_bytes(data)
    storage.upload(f"s3://{s3_bucket}/large", tmp_path / "large")
    assert storage.read(f"s3://{s3_bucket}/large").data == data
    assert storage.head(f"s3://{s3_bucket}/large").etag == hashlib.md5(data).hexdigest()


def test_s3_missing_object_and_bucket_are_not_found(s3_bucket, storage):
    for uri in (
        f"s3://{s3_bucket}/none",
        f"s3://{s3_bucket}/no//ne",
        "s3://never-made/x",
        "s3://b",
    ):
        with pytest.raises(FetchError) as caught:
            storage.read(uri)
        assert caught.value.kind == "not_found"
    assert storage.head(f"s3://{s3_bucket}/none") is None


@pytest.mark.parametrize("bucket", ["B A", "ü", "a\nb"])
def test_impossible_bucket_name_is_an_error_of_the_row(s3_environment, storage, bucket):
    with pytest.raises(FetchError) as caught:
        storage.read(f"s3://{bucket}/x")
    assert caught.value.kind == "storage"


def test_listing_a_missing_bucket_says_so(s3_environment, storage):
    with pytest.raises(NoBucketError, match=r"bucket 'never-made' does not exist at http://127"):
        list(storage.list("s3://never-made/x/"))


def test_s3_too_large_object_is_refused(s3_bucket, storage, monkeypatch):
    storage.write(f"s3://{s3_bucket}/a", b"x" * 11)
    monkeypatch.setattr(stored_objects, "MAX_OBJECT_BYTES", 10)
    with pytest.raises(FetchError) as caught:
        storage.read(f"s3://{s3_bucket}/a")
    assert caught.value.kind == "too_large"


def test_missing_write_permission_is_named(s3_bucket, s3_environment, storage, monkeypatch):
    for name, value in s3_environment.as_reader().child_environment().items():
        monkeypatch.setenv(name, value)
    assert list(storage.list(f"s3://{s3_bucket}/")) == []
    with pytest.raises(StorageError, match="access denied; the credentials need s3:PutObject"):
        storage.write(f"s3://{s3_bucket}/x", b"")
    with pytest.raises(StorageError, match="need s3:DeleteObject"):
        storage.delete([f"s3://{s3_bucket}/x"])


def test_wrong_keys_are_named(s3_bucket, storage, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    for ask in (
        lambda: list(storage.list(f"s3://{s3_bucket}/")),
        lambda: storage.head(f"s3://{s3_bucket}/x"),
        lambda: storage.read(f"s3://{s3_bucket}/x"),
    ):
        with pytest.raises(
            StorageError, match="does not know this access key; check AWS_ACCESS_KEY_ID"
        ):
            ask()


def test_missing_credentials_are_named(s3_bucket, storage, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    for ask in (
        lambda: list(storage.list(f"s3://{s3_bucket}/")),
        lambda: storage.read(f"s3://{s3_bucket}/x"),
    ):
        with pytest.raises(
            (StorageError, FetchError), match="no credentials were found; set AWS_AC"
        ):
            ask()


def test_profile_gives_endpoint_and_keys_to_both_clients(
    s3_bucket, s3_environment, storage, tmp_path, monkeypatch
):
    (tmp_path / "config").write_text(
        f"[profile mill]\nregion = us-east-1\nendpoint_url = {s3_environment.endpoint_url}\n"
        f"aws_access_key_id = {s3_environment.access_key}\n"
        f"aws_secret_access_key = {s3_environment.secret_key}\n"
    )
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mill")
    storage.write(f"s3://{s3_bucket}/x", b"by boto3")
    assert storage.read(f"s3://{s3_bucket}/x").data == b"by boto3"


def test_unreachable_endpoint_is_named_within_seconds(s3_bucket, storage, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(
        StorageError, match=r"http://127.0.0.1:1 cannot be reached; check AWS_ENDPOINT_URL"
    ):
        list(storage.list(f"s3://{s3_bucket}/"))


def test_listing_of_many_pages_is_whole_and_can_be_deleted_meanwhile(
    s3_bucket, s3_client, storage, monkeypatch
):
    keys = [f"photos/{number:04}" for number in range(25)]
    for key in keys:
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=b"x")
    client = s3_clients().boto3
    monkeypatch.setattr(client, "list_objects_v2", partial(client.list_objects_v2, MaxKeys=10))
    listed = storage.list(f"s3://{s3_bucket}/photos")
    assert names(listed, f"s3://{s3_bucket}") == keys
    storage.delete(stored.uri for stored in storage.list(f"s3://{s3_bucket}/photos"))
    assert list(storage.list(f"s3://{s3_bucket}")) == []
