import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import FetchError, StorageError
from jobs.storage import objects as stored_objects
from jobs.storage import to_uri
from tests.support.files import names, put_files


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


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_file_that_alone_cannot_be_read_is_an_error_of_its_own(
    tmp_path, storage, monkeypatch, code
):
    put_files(tmp_path, "a")
    monkeypatch.setattr("jobs.storage.local._read_exactly", failing(code))
    with pytest.raises(FetchError) as caught:
        storage.read(f"{tmp_path}/a")
    assert caught.value.kind == "storage"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN])
def test_what_the_machine_lacks_is_no_files_fault(tmp_path, storage, monkeypatch, code):
    put_files(tmp_path, "a")
    monkeypatch.setattr("jobs.storage.local._read_exactly", failing(code))
    with pytest.raises(StorageError, match=rf"cannot read '{tmp_path}/a': .*; \w+"):
        storage.read(f"{tmp_path}/a")


def test_unmounted_file_system_is_not_taken_for_missing_files(tmp_path, storage, monkeypatch):
    put_files(tmp_path, "mount/folder/a", "mount/folder/b")
    storage.read(f"{tmp_path}/mount/folder/a")
    (tmp_path / "mount/folder").rename(tmp_path / "elsewhere")  # the mount point stays
    with pytest.raises(FetchError, match="does not exist"):
        storage.read(f"{tmp_path}/mount/folder/b")
    monkeypatch.setattr("jobs.storage.local._device", lambda _: -1)
    with pytest.raises(StorageError, match=r"mount/folder' is gone; mount it again"):
        storage.read(f"{tmp_path}/mount/folder/b")


@pytest.mark.parametrize("way", ["write", "upload"])
def test_full_disk_is_named_and_leaves_nothing(tmp_path, storage, monkeypatch, way):
    (tmp_path / "source").write_bytes(b"new")
    storage.write(f"{tmp_path}/out/a", b"old")
    monkeypatch.setattr("jobs.storage.local.os.fsync", failing(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"cannot write '.*/out/a': no space left on device"):
        put(storage, way, f"{tmp_path}/out/a", tmp_path / "source")
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"old"]


@pytest.mark.parametrize("way", ["write", "upload"])
def test_local_writes_are_durable_with_their_folders_entry(tmp_path, storage, monkeypatch, way):
    (tmp_path / "source").write_bytes(b"new")
    synced = []

    def sync(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((path.name, path.is_dir(), (tmp_path / "out/a").exists()))

    monkeypatch.setattr("jobs.storage.local.os.fsync", sync)
    put(storage, way, f"{tmp_path}/out/a", tmp_path / "source")
    assert [(is_folder, renamed) for _, is_folder, renamed in synced] == [
        (False, False),
        (True, True),
    ]
    assert synced[1][0] == "out"


def test_folder_that_cannot_be_synced_is_no_error(tmp_path, storage, monkeypatch):
    monkeypatch.setattr("jobs.storage.local.os.fsync", failing(errno.EINVAL, only=os.path.isdir))
    storage.write(f"{tmp_path}/a", b"1")
    assert storage.read(f"{tmp_path}/a").data == b"1"


def test_upload_of_a_missing_file_names_it(tmp_path, storage):
    with pytest.raises(StorageError, match=r"nowhere': no such file"):
        storage.upload(f"{tmp_path}/a", tmp_path / "nowhere")


def failing(code, only=lambda _: True):
    def fail(descriptor, *_):
        if not isinstance(descriptor, int) or only(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))

    return fail


def put(storage, way, uri, source):
    if way == "write":
        storage.write(uri, source.read_bytes())
    else:
        storage.upload(uri, source)


def test_what_a_killed_writer_leaves_has_another_name_and_can_be_deleted(tmp_path, storage):
    code = (
        "import os; from jobs.storage import Storage; os.replace = lambda *_: os._exit(9)\n"
        f"Storage().write({str(tmp_path / 'out/a.parquet')!r}, b'rows')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    left = [stored.uri for stored in storage.list(f"{tmp_path}/out")]
    assert [Path(uri).suffix for uri in left] == [".tmp"]
    storage.delete(left)
    assert not (tmp_path / "out").exists()


def test_local_folder_may_be_emptied_while_it_is_written_to(storage, tmp_path, monkeypatch):
    make, emptied = os.makedirs, []

    def makedirs(folder, exist_ok):
        make(folder, exist_ok=exist_ok)
        if not emptied:
            os.rmdir(folder)  # as another's `delete` may do
            emptied.append(folder)

    monkeypatch.setattr(os, "makedirs", makedirs)

    storage.write(f"{tmp_path}/marks/one", b"1")

    assert emptied
    assert (tmp_path / "marks" / "one").read_bytes() == b"1"
