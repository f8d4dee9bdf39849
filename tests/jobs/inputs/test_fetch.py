import random
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import FetchError, StorageError
from jobs.inputs import OBJECT_SCHEMA, open_source
from jobs.inputs.cells import CellReader
from jobs.inputs.fetch import fetch_images
from jobs.storage import Fetched, Storage
from jobs.storage import objects as stored_objects
from tests.support.service import wait_until


def rows_of(text: str, storage: Storage, **options) -> pa.Table:
    return pa.concat_tables(open_source(str(text), storage, **options).tables(storage))


def fetched(storage: Storage, rows: pa.Table, **options) -> list[bytes | str]:
    """Each row's bytes, or the kind of its error; in order, every row once."""
    outcomes = list(fetch_images(storage, rows, **options))
    assert [index for index, _ in outcomes] == list(range(rows.num_rows))
    return [got.data if isinstance(got, Fetched) else got.kind for _, got in outcomes]


def write_images(path: Path, images: list, row_group_size: int = 4) -> Path:
    pq.write_table(pa.table({"image": images}), path, row_group_size=row_group_size)
    return path


class SlowStorage(Storage):
    """Counts what is read at once, and answers after a pause."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s, self.started, self.lock = pause_s, 0, threading.Lock()

    def read(self, uri, **_):
        with self.lock:
            self.started += 1
        time.sleep(random.random() * self.pause_s)
        return Fetched(uri.encode(), "etag")


def plain_rows(count: int) -> pa.Table:
    rows = [{"uri": str(n), "location": f"file:///{n}"} for n in range(count)]
    return pa.Table.from_pylist(rows, schema=OBJECT_SCHEMA)


def test_objects_come_in_order_however_slow_each_is():
    got = fetched(SlowStorage(0.01), plain_rows(100), threads=8)
    assert got == [f"file:///{n}".encode() for n in range(100)]


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_than_twice_the_threads_are_held(threads):
    storage = SlowStorage()
    images = fetch_images(storage, plain_rows(100), threads=threads)
    for taken in range(1, 60):
        next(images)
        time.sleep(0.002)
        assert storage.started <= taken + 2 * threads


def test_abandoning_stops_the_threads():
    storage = SlowStorage(0.02)
    images = fetch_images(storage, plain_rows(1000), threads=4)
    next(images)
    images.close()
    started = storage.started
    wait_until(lambda: not any(it.name.startswith("fetch") for it in threading.enumerate()))
    assert storage.started <= started + 1


def test_one_bad_row_affects_no_other(tmp_path, storage):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    rows = rows_of(tmp_path, storage)
    (tmp_path / "b").unlink()
    assert fetched(storage, rows) == [b"a", "not_found", b"c"]


def test_tar_members_are_read_by_their_ranges(tmp_path, storage):
    bodies = [random.Random(n).randbytes(n * 400) for n in range(5)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number, body in enumerate(bodies):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(body)
            archive.addfile(member, BytesIO(body))
    rows = rows_of(tmp_path / "a.tar", storage)
    assert fetched(storage, rows) == bodies
    (tmp_path / "a.tar").write_bytes(b"other bytes" * 1000)
    assert fetched(storage, rows)[1:] == ["storage"] * 4


def test_parquet_cells_come_in_order_over_row_groups(tmp_path, storage):
    images = [f"image {n}".encode() for n in range(50)]
    rows = rows_of(write_images(tmp_path / "a.parquet", images), storage)
    assert fetched(storage, rows, threads=3) == images
    etags = {got.etag for _, got in fetch_images(storage, rows)}
    assert etags == {storage.head(f"{tmp_path}/a.parquet").etag}


@pytest.mark.parametrize("picked", [[3, 17, 18, 40], [40, 18, 3, 3, 17], [49]])
def test_any_rows_in_any_order_can_be_asked_for(tmp_path, storage, picked):
    images = [f"image {n}".encode() for n in range(50)]
    rows = rows_of(write_images(tmp_path / "a.parquet", images, 20), storage)
    assert fetched(storage, rows.take(picked)) == [images[n] for n in picked]


def test_cells_wait_for_those_before_them(tmp_path, storage):
    images = [f"image {n}".encode() for n in range(20)]
    path = write_images(tmp_path / "a.parquet", images)
    cells = CellReader(storage, f"file://{path}", range(20), None, None)
    with ThreadPoolExecutor(2) as pool:
        later = pool.submit(cells.read, 12, 8)
        time.sleep(0.05)
        first = pool.submit(cells.read, 0, 12)
        assert [cell.data for cell in first.result() + later.result()] == images


def test_only_the_row_groups_asked_for_are_read(s3_bucket, tmp_path, storage, monkeypatch):
    images = [random.Random(n).randbytes(1 << 20) for n in range(12)]
    path = write_images(tmp_path / "a.parquet", images, row_group_size=1)
    storage.upload(f"s3://{s3_bucket}/a.parquet", path)
    rows = rows_of(f"s3://{s3_bucket}/a.parquet", storage)
    monkeypatch.setattr("jobs.inputs.cells._BUFFER_BYTES", 1 << 16)
    got = []
    read = Storage.read

    def count(self, uri, **options):
        part = read(self, uri, **options)
        got.append(len(part.data))
        return part

    monkeypatch.setattr(Storage, "read", count)
    assert fetched(storage, rows.take([2, 9])) == [images[2], images[9]]
    assert sum(got) < 4 << 20


def test_null_images_and_missing_rows_are_errors_of_their_own(tmp_path, storage):
    path = write_images(tmp_path / "a.parquet", [b"0", None, b"2"])
    rows = rows_of(path, storage)
    rows = pa.concat_tables([rows, rows.slice(2).set_column(3, "row", pa.array([7]))])
    outcomes = [got for _, got in fetch_images(storage, rows)]
    assert [type(got) for got in outcomes] == [Fetched, FetchError, Fetched, FetchError]
    assert str(outcomes[1]) == f"row 1 of file://{path} holds no image"
    assert str(outcomes[3]) == f"file://{path} has no row 7"
    assert {outcomes[1].kind, outcomes[3].kind} == {"not_found"}


def test_hugging_face_structs_give_their_bytes(tmp_path, storage):
    images = [{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b"}, None]
    path = write_images(tmp_path / "a.parquet", images)
    assert fetched(storage, rows_of(path, storage)) == [b"1", "not_found", "not_found"]


def test_image_column_asked_for_is_read(tmp_path, storage):
    pq.write_table(pa.table({"x": [b"1"], "y": [b"2"]}), tmp_path / "a.parquet")
    rows = rows_of(tmp_path / "a.parquet", storage, image_column="y")
    assert fetched(storage, rows, image_column="y") == [b"2"]
    assert fetched(storage, rows) == ["storage"]


def test_damaged_row_group_spares_the_others(tmp_path, storage):
    images = [random.Random(n).randbytes(5000) for n in range(6)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": images}), path, row_group_size=2, use_dictionary=False)
    data = path.read_bytes()
    header = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    path.write_bytes(data[:header] + b"\xff" * 8 + data[header + 8 :])
    got = fetched(storage, rows_of(path, storage))
    assert got == [images[0], images[1], "storage", "storage", images[4], images[5]]


@pytest.mark.parametrize("data", [None, b"not parquet"])
def test_file_that_cannot_be_opened_is_an_error_of_each_row(tmp_path, storage, data):
    good = write_images(tmp_path / "b.parquet", [b"9"])
    path = write_images(tmp_path / "a.parquet", [b"1", b"2"])
    rows = pa.concat_tables([rows_of(path, storage), rows_of(good, storage)])
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    kind = "not_found" if data is None else "storage"
    assert fetched(storage, rows) == [kind, kind, b"9"]


def test_too_large_cell_is_refused(tmp_path, storage, monkeypatch):
    rows = rows_of(write_images(tmp_path / "a.parquet", [b"x" * 5000, b"1"]), storage)
    monkeypatch.setattr(stored_objects, "MAX_OBJECT_BYTES", 4000)
    assert fetched(storage, rows) == ["too_large", b"1"]


def test_of_a_large_object_that_is_no_image_the_beginning_is_read(tmp_path, storage, monkeypatch):
    monkeypatch.setattr("jobs.storage.objects.MAX_OBJECT_BYTES", 2000)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + bytes(3000))
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(3000))
    image, video = fetched(storage, rows_of(str(tmp_path), storage))
    assert image == "too_large"
    assert len(video) == 1024


def test_parquet_fetching_can_be_abandoned(tmp_path, storage):
    images = [f"{n}".encode() for n in range(500)]
    rows = rows_of(write_images(tmp_path / "a.parquet", images, 10), storage)
    pending = fetch_images(storage, rows, threads=4)
    assert [got.data for _, got in islice(pending, 20)] == images[:20]
    pending.close()


def test_rows_on_s3_are_fetched(s3_bucket, storage):
    for number in range(30):
        storage.write(f"s3://{s3_bucket}/{number:02}", f"{number}".encode())
    rows = rows_of(f"s3://{s3_bucket}/", storage)
    storage.delete([f"s3://{s3_bucket}/07"])
    expected = [f"{n}".encode() for n in range(30)]
    assert fetched(storage, rows) == [*expected[:7], "not_found", *expected[8:]]


class FailingStorage(Storage):
    """Fails after some reads, as a service does that has gone away."""

    def __init__(self, reads: int) -> None:
        self.left = reads

    def read(self, uri, **options):
        self.left -= 1
        if self.left < 0:
            raise StorageError("the service has gone away")
        return super().read(uri, **options)


@pytest.mark.parametrize("reads", [0, 3])
@pytest.mark.parametrize("kind", ["objects", "members", "cells"])
def test_failing_storage_ends_the_fetching(tmp_path, storage, monkeypatch, reads, kind):
    monkeypatch.setattr("jobs.inputs.cells._BUFFER_BYTES", 4096)
    images = [random.Random(n).randbytes(10_000) for n in range(20)]
    rows = rows_of(arrange(tmp_path / kind, images), storage)
    assert fetched(storage, rows) == images
    with pytest.raises(StorageError, match="the service has gone away"):
        fetched(FailingStorage(reads), rows, threads=2)


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize("kind", ["members", "cells", "csv", "jsonl"])
def test_failing_storage_is_not_taken_for_a_damaged_input(tmp_path, reads, kind):
    path = tmp_path / f"rows.{kind}"
    path.write_text("uri\na.jpg\n" if kind == "csv" else '{"uri": "a.jpg"}\n')
    if kind in ("members", "cells"):
        path = arrange(tmp_path / kind, [b"1" * 2_000_000])
    with pytest.raises(StorageError, match="the service has gone away"):
        rows_of(path, FailingStorage(reads))


def test_look_that_fails_ends_the_fetching_of_cells(tmp_path, storage, monkeypatch):
    rows = rows_of(write_images(tmp_path / "a.parquet", [b"1", b"2"]), storage)

    def head(*_):
        raise StorageError("the service does not answer")

    monkeypatch.setattr(Storage, "head", head)
    with pytest.raises(StorageError, match="the service does not answer"):
        fetched(storage, rows)


def arrange(path: Path, images: list[bytes]) -> Path:
    """Lay out images as the kind of input that the path's name says."""
    if path.name == "cells":
        return write_images(path.with_suffix(".parquet"), images)
    path.mkdir()
    for number, image in enumerate(images):
        (path / f"{number:02}.jpg").write_bytes(image)
    if path.name == "members":
        with tarfile.open(path.with_suffix(".tar"), "w") as archive:
            for member in sorted(path.iterdir()):
                archive.add(member, member.name)
        return path.with_suffix(".tar")
    return path
