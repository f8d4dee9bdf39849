import errno
import os
import pickle
import random
import socket
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from jobs.errors import FetchError, SpecError, StorageError
from jobs.storage import NoBucketError, Storage, local_path, to_uri
from jobs.storage import objects as stored_objects
from jobs.storage.clients import s3_clients
from tests.jobs.faulty_proxy import faulty_proxy

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


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def behind_proxy(s3_bucket, s3_environment, monkeypatch):
    """Put a faulty proxy before the server: call it with the fault."""
    with ExitStack() as stack:

        def start(fault):
            url = stack.enter_context(faulty_proxy(s3_environment.endpoint_url, fault))
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            return url

        yield start


def names(listing, root: str) -> list[str]:
    return [stored.uri.removeprefix(root).lstrip("/") for stored in listing]


def put_files(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


# uris


def test_plain_path_becomes_absolute_file_uri(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert to_uri("a b%41#.jpg") == f"file://{tmp_path}/a b%41#.jpg"


@pytest.mark.parametrize("uri", ["s3://b/k%41 #", "file:///a/b"])
def test_uris_stay_as_they_are(uri):
    assert to_uri(uri) == uri


def test_unknown_scheme_is_refused_with_the_supported_ones():
    with pytest.raises(SpecError, match=r"'gs://'.*supported are s3://, file://"):
        to_uri("gs://bucket/x")


def test_path_that_is_not_utf8_survives_as_uri(tmp_path, storage):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(path)).write_bytes(b"x")
    (stored,) = storage.list(str(tmp_path))
    assert stored.uri.isascii()
    assert storage.read(stored.uri).data == b"x"


def test_raw_name_wins_over_percent_decoded_name(tmp_path):
    put_files(tmp_path, "a%41", "aA", "b A")
    assert local_path(f"file://{tmp_path}/a%41").endswith("a%41")
    assert local_path(f"file://{tmp_path}/b%20A").endswith("b A")


def test_storage_can_be_pickled(storage, tmp_path):
    put_files(tmp_path, "a")
    assert pickle.loads(pickle.dumps(storage)).read(f"{tmp_path}/a").data == b"a"


# local disk


def test_local_listing_is_recursive_sorted_and_hides_nothing(tmp_path, storage):
    put_files(tmp_path, "b.jpg", "a/z.jpg", "a/.hidden", ".dot/x", "_private", "a0.jpg")
    listed = names(storage.list(str(tmp_path)), to_uri(str(tmp_path)))
    assert listed == [".dot/x", "_private", "a/.hidden", "a/z.jpg", "a0.jpg", "b.jpg"]


def test_local_listing_can_be_narrowed_by_how_names_begin(tmp_path, storage):
    put_files(tmp_path, "ab/x", "abc", "b/abc")
    listed = names(storage.list(str(tmp_path), starts_with="ab"), to_uri(str(tmp_path)))
    assert listed == ["ab/x", "abc"]


def test_single_file_lists_itself_and_a_missing_one_lists_nothing(tmp_path, storage):
    put_files(tmp_path, "a.jpg")
    assert [s.uri for s in storage.list(f"{tmp_path}/a.jpg")] == [f"file://{tmp_path}/a.jpg"]
    assert list(storage.list(f"{tmp_path}/b.jpg")) == []


def test_links_are_followed_and_loops_are_not(tmp_path, storage):
    put_files(tmp_path, "real/a.jpg")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "twin").symlink_to(tmp_path / "real")
    (tmp_path / "real/self").symlink_to(tmp_path / "real/self")
    listed = names(storage.list(str(tmp_path)), to_uri(str(tmp_path)))
    assert listed == ["real/a.jpg", "real/self", "twin/a.jpg", "twin/self"]


def test_broken_link_is_listed_and_then_not_found(tmp_path, storage):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (stored,) = storage.list(str(tmp_path))
    assert (stored.size, stored.etag) == (0, "")
    with pytest.raises(FetchError) as caught:
        storage.read(stored.uri)
    assert caught.value.kind == "not_found"


def test_pipes_and_sockets_are_not_listed_and_not_waited_for(tmp_path, storage):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    assert list(storage.list(str(tmp_path))) == []
    with pytest.raises(FetchError, match="not a regular file"):
        storage.read(f"{tmp_path}/pipe")


def test_unreadable_folder_fails_the_listing_by_name(tmp_path, storage, monkeypatch):
    put_files(tmp_path, "secret/a.jpg")

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr("jobs.storage.local.os.listdir", refuse)
    with pytest.raises(StorageError, match=r"cannot list folder '.*': permission denied"):
        list(storage.list(f"{tmp_path}/secret"))


def test_local_permission_error_is_access_denied(tmp_path, storage, monkeypatch):
    put_files(tmp_path, "a")

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("jobs.storage.local.os.stat", refuse)
    with pytest.raises(FetchError) as caught:
        storage.read(f"{tmp_path}/a")
    assert caught.value.kind == "access_denied"


@pytest.mark.parametrize(
    ("name", "kind"), [("folder", "storage"), ("a/b", "not_found"), ("x\0", "storage")]
)
def test_local_read_errors_have_a_kind(tmp_path, storage, name, kind):
    put_files(tmp_path, "folder/x", "a")
    with pytest.raises(FetchError) as caught:
        storage.read(f"file://{tmp_path}/{name}")
    assert caught.value.kind == kind


def test_local_head_agrees_with_the_listing(tmp_path, storage):
    put_files(tmp_path, "a.jpg")
    assert [storage.head(f"file://{tmp_path}/a.jpg")] == list(storage.list(str(tmp_path)))
    assert storage.head(f"{tmp_path}/b") is None
    assert storage.head(str(tmp_path)) is None


def test_local_ranges_and_files_are_read_exactly(tmp_path, storage):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    uri = f"{tmp_path}/a"
    assert storage.read(uri, offset=10, expected_size=5).data == bytes(range(10, 15))
    assert storage.read(uri, offset=90).data == bytes(range(90, 100))
    with storage.open(uri, buffer_bytes=7) as file:
        assert file.read(3) + file.read() == bytes(range(100))
        assert file.seek(-4, os.SEEK_END) == 96
        assert file.read() == bytes(range(96, 100))


def test_file_shorter_than_listed_never_passes(tmp_path, storage, monkeypatch):
    monkeypatch.setattr("jobs.storage._PAUSE_S", 0)
    put_files(tmp_path, "abc")
    etag = storage.head(f"{tmp_path}/abc").etag
    with pytest.raises(FetchError, match="1,234 bytes expected, 3 received") as caught:
        storage.read(f"{tmp_path}/abc", expected_size=1234, expected_etag=etag)
    assert caught.value.kind == "storage"


def test_overwritten_file_is_read_as_it_is_now_but_not_its_ranges(tmp_path, storage):
    put_files(tmp_path, "abc")
    assert storage.read(f"{tmp_path}/abc", expected_size=99, expected_etag="99-1").data == b"abc"
    with pytest.raises(FetchError, match="has changed since it was listed"):
        storage.read(f"{tmp_path}/abc", offset=0, expected_size=2, expected_etag="99-1")


def test_too_large_objects_are_refused_before_reading(tmp_path, storage, monkeypatch):
    monkeypatch.setattr(stored_objects, "MAX_OBJECT_BYTES", 10)
    (tmp_path / "a").write_bytes(b"x" * 11)
    for expected_size in (None, 11):
        with pytest.raises(FetchError) as caught:
            storage.read(f"{tmp_path}/a", expected_size=expected_size)
        assert caught.value.kind == "too_large"


def test_local_write_makes_folders_and_leaves_nothing_beside(tmp_path, storage):
    storage.write(f"{tmp_path}/x/y/z.txt", b"1")
    storage.write(f"{tmp_path}/x/y/z.txt", b"2")
    (tmp_path / "source").write_bytes(b"3")
    storage.upload(f"{tmp_path}/x/y/u.txt", tmp_path / "source")
    listed = names(storage.list(f"{tmp_path}/x"), to_uri(f"{tmp_path}/x"))
    assert listed == ["y/u.txt", "y/z.txt"]
    assert storage.read(f"{tmp_path}/x/y/z.txt").data == b"2"


def test_failed_local_write_keeps_the_old_file(tmp_path, storage, monkeypatch):
    storage.write(f"{tmp_path}/a", b"old")

    def disk_full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jobs.storage.local.os.fsync", disk_full)
    with pytest.raises(StorageError, match=r"cannot write '.*a': no space left on device"):
        storage.write(f"{tmp_path}/a", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_local_delete_takes_missing_files_and_emptied_folders(tmp_path, storage):
    put_files(tmp_path, "keep", "d/a", "d/b")
    storage.delete([f"{tmp_path}/d/a", f"{tmp_path}/d/b", f"{tmp_path}/d/none", f"{tmp_path}/none"])
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_local_folder_can_be_deleted_while_it_is_listed(tmp_path, storage):
    put_files(tmp_path, "d/a", "d/b", "d/e/c", "d/f")
    storage.delete(stored.uri for stored in storage.list(f"{tmp_path}/d"))
    assert list(tmp_path.iterdir()) == []


# S3


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


def test_s3_upload_of_a_large_file_is_whole(s3_bucket, storage, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.storage.s3._MULTIPART.multipart_threshold", 6 << 20)
    monkeypatch.setattr("jobs.storage.s3._MULTIPART.multipart_chunksize", 5 << 20)
    data = random.Random(7).randbytes(11 << 20)
    (tmp_path / "large").write_bytes(data)
    storage.upload(f"s3://{s3_bucket}/large", tmp_path / "large")
    assert storage.read(f"s3://{s3_bucket}/large").data == data
    assert storage.head(f"s3://{s3_bucket}/large").etag.endswith("-3")


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
    with pytest.raises(
        StorageError, match="does not know this access key; check AWS_ACCESS_KEY_ID"
    ):
        list(storage.list(f"s3://{s3_bucket}/"))
    with pytest.raises(FetchError) as caught:
        storage.read(f"s3://{s3_bucket}/x")
    assert caught.value.kind == "access_denied"


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


# a server with faults


def test_nothing_is_lost_when_a_third_of_all_answers_is_503(s3_bucket, storage, behind_proxy):
    # each request has its own dice, so that threads do not change what is thrown
    dice, lock, hit = defaultdict(list), threading.Lock(), set()

    def fault(method: str, path: str) -> str | None:
        with lock:
            throws = dice[method, path]
            throws.append(0)
            name = f"{method} {path.rpartition('/')[2]} {len(throws)}"
            bad = random.Random(name).random() < 0.3
            hit.update({method} if bad else ())
            return "503" if bad else None

    behind_proxy(fault)
    uris = [f"s3://{s3_bucket}/photos/{number:03}" for number in range(16)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda uri: storage.write(uri, uri.encode()), uris))
        listings = list(
            pool.map(lambda _: list(storage.list(f"s3://{s3_bucket}/photos/")), range(5))
        )
        heads = list(pool.map(storage.head, uris))
        bodies = list(pool.map(lambda uri: storage.read(uri).data, uris))
    assert bodies == [uri.encode() for uri in uris]
    assert [listing == heads for listing in listings] == [True] * 5
    assert [stored.uri for stored in heads] == uris
    assert hit == {"PUT", "GET", "HEAD"}


@pytest.mark.parametrize("fault", ["short", "cut"])
@pytest.mark.parametrize("key", ["plain", "tab\tkey"])
def test_truncated_body_is_read_again(s3_bucket, storage, behind_proxy, fault, key):
    uri = f"s3://{s3_bucket}/{key}"
    storage.write(uri, b"x" * 1000)
    stored = storage.head(uri)
    spoiled = []

    def spoil_first(method: str, path: str) -> str | None:
        spoiled.append(method)
        return fault if len(spoiled) == 1 else None

    behind_proxy(spoil_first)
    fetched = storage.read(uri, expected_size=1000, expected_etag=stored.etag)
    assert fetched.data == b"x" * 1000
    assert len(spoiled) > 1


@pytest.mark.parametrize("key", ["plain", "tab\tkey"])
def test_body_that_stays_short_never_passes(s3_bucket, storage, behind_proxy, key, monkeypatch):
    monkeypatch.setattr("jobs.storage._PAUSE_S", 0)
    uri = f"s3://{s3_bucket}/{key}"
    storage.write(uri, b"x" * 2468)
    etag = storage.head(uri).etag
    behind_proxy(lambda method, _: "short" if method == "GET" else None)
    with pytest.raises(FetchError, match="2,468 bytes expected, 1,234 received") as caught:
        storage.read(uri, expected_size=2468, expected_etag=etag)
    assert caught.value.kind == "storage"


@pytest.mark.parametrize("fault", ["short", "cut"])
def test_truncated_listing_is_asked_for_again(s3_bucket, storage, behind_proxy, fault):
    for number in range(5):
        storage.write(f"s3://{s3_bucket}/photos/{number}", b"x")
    whole = list(storage.list(f"s3://{s3_bucket}/photos/"))
    asked = []

    def spoil_first(_method: str, path: str) -> str | None:
        asked.append(path)
        return fault if len(asked) == 1 else None

    behind_proxy(spoil_first)
    assert list(storage.list(f"s3://{s3_bucket}/photos/")) == whole
    assert len(asked) > 1


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
