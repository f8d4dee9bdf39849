import gzip
import random
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from jobs.errors import JobError, SpecError
from jobs.inputs import open_source
from jobs.inputs.names import Names
from tests.support.images import encode, photo
from tests.support.inputs import chosen, read_all, record_reads, uris_of, write_tar


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


def test_member_names_that_are_not_utf8_are_encoded_and_collide_with_none(tmp_path, storage):
    names = ["b\udcff.jpg", "b%FF.jpg", "b%25FF.jpg", "100%.jpg", "b%20.jpg"]
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"1"), format=tarfile.GNU_FORMAT)
    expected = ["b%FF.jpg", "b%25FF.jpg", "b%2525FF.jpg", "100%.jpg", "b%20.jpg"]
    assert uris_of(path, storage, f"file://{tmp_path}") == [f"a.tar#{name}" for name in expected]


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


def test_tar_without_images_says_what_it_has(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.txt": b"1"})
    with pytest.raises(SpecError, match=r"has no image: 1 \.txt passed over"):
        read_all(open_source(path, storage), storage)


def test_members_are_images_by_name_or_by_first_bytes_and_others_are_counted(tmp_path, storage):
    kinds = {"JPEG": "jpeg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "x"}
    named = ["a.jpe", "a.jfif", "a.avif", "a.heic", "a.heif", "a.jp2", "a.ppm", "a.TIF"]
    images = {f"{name}.img": encode(photo(8, 8), kind) for kind, name in kinds.items()}
    images["no suffix at all"] = images["a.jpg.bin"] = images["jpeg.img"]
    others = {
        "a.json": b'{"a": 1}',
        "a.txt": b"BMW in the rain",
        "b.txt": b"P5: a parameter",
        "a.cls": b"1",
        "a.npy": b"\x93NUMPY\x01\x00",
        "a.pyd": b"\x80\x04\x95",
        "a.pdf": b"%PDF-1.7",
        "a.mp4": b"\x00\x00\x00 ftypisom\x00\x00\x02\x00isomiso2",
        "floats": b"\x00\x00\x01\x00" * 10,
        "empty": b"",
    }
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(named, b"") | images | others)
    source = open_source(path, storage)

    names = [uri.partition("#")[2] for uri in read_all(source, storage)["uri"].to_pylist()]
    assert names == [*named, *images]
    expected = (".json", ".txt", ".txt", ".cls", ".npy", ".pyd", ".pdf", ".mp4")
    assert source.passed_over == Counter([*expected, "no suffix", "no suffix"])


def test_links_to_members_are_rows_and_other_links_and_devices_are_counted(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"one", "a.txt": b"1"})
    kinds = {
        "b.jpg": (tarfile.LNKTYPE, "a.jpg"),
        "b.txt": (tarfile.LNKTYPE, "a.txt"),
        "c.jpg": (tarfile.SYMTYPE, "a.jpg"),
        "fifo.jpg": (tarfile.FIFOTYPE, ""),
        "folder.jpg": (tarfile.DIRTYPE, ""),
        "odd.jpg": (b"V", ""),
    }
    with tarfile.open(path, "a") as archive:
        for name, (kind, target) in kinds.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    source = open_source(path, storage)

    rows = read_all(source, storage).to_pylist()
    assert [row["uri"].partition("#")[2] for row in rows] == ["a.jpg", "b.jpg"]
    assert rows[0]["offset"] == rows[1]["offset"]
    assert source.passed_over == {".txt": 1, "links": 2, "devices": 1, "other": 1}


def test_first_bytes_cost_no_further_reads(tmp_path, storage, monkeypatch):
    rng = random.Random(5)
    members = {f"{n}.{x}": rng.randbytes(3000) for n in range(1000) for x in ("jpg", "json", "b")}
    path = write_tar(tmp_path / "a.tar", members)
    requests = record_reads(monkeypatch)
    read_all(open_source(path, storage), storage)

    assert len(requests) <= Path(path).stat().st_size // (1 << 20) + 3


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "BMP", "TIFF"])
def test_images_under_any_name_are_told_by_their_first_bytes(tmp_path, storage, kind):
    path = write_tar(tmp_path / "a.tar", {"a.hif": encode(photo(32, 32), kind), "b.hif": b"BM ="})
    source = open_source(path, storage)
    assert read_all(source, storage)["uri"].to_pylist() == [f"file://{path}#a.hif"]
    assert source.passed_over == {".hif": 1}


def test_a_link_counts_where_what_it_links_to_is_left_out(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"all/1.jpg": b"1"})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("chosen/1.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "all/1.jpg"
        archive.addfile(link)
    source = chosen(path, storage, Names(include=("chosen/*",)))
    assert read_all(source, storage)["uri"].to_pylist() == [f"file://{path}#chosen/1.jpg"]
    assert source.passed_over == {".jpg": 1}
