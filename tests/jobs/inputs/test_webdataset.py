import gzip
import random
import tarfile
from pathlib import Path

import pytest

from jobs.errors import JobError, SpecError
from jobs.inputs import open_source
from tests.support.inputs import read_all, uris_of, write_tar


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
    assert uris_of(str(tmp_path), storage, f"file://{tmp_path}") == expected
    assert uris_of(f"{tmp_path}/1*.tar", storage, f"file://{tmp_path}") == expected[20:]


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
    assert uris_of(path, storage, f"file://{tmp_path}") == [f"a.tar#{name}" for name in names]


def test_member_name_that_is_not_utf8_is_percent_encoded(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"b\udcff.jpg": b"1"}, format=tarfile.GNU_FORMAT)
    assert uris_of(path, storage, f"file://{tmp_path}") == ["a.tar#b%FF.jpg"]


def test_tar_on_s3_is_scanned_by_ranges(s3_bucket, storage, tmp_path):
    rng = random.Random(3)
    path = write_tar(
        tmp_path / "a.tar", {f"{n}.jpg": rng.randbytes(rng.choice([9, 2 << 20])) for n in range(6)}
    )
    storage.upload(f"s3://{s3_bucket}/a.tar", Path(path))
    there = read_all(open_source(f"s3://{s3_bucket}/a.tar", storage), storage)
    here = read_all(open_source(path, storage), storage)
    assert there.select(["offset", "size"]) == here.select(["offset", "size"])


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
