"""Members of tar files that lie where nobody expects them: sparse, behind the end, or moved."""

import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from jobs.errors import FetchError, JobError
from jobs.inputs import open_source
from jobs.inputs.fetch import fetch_images
from jobs.inputs.tar import AFTER_THE_END, Place, read_member
from tests.support.inputs import read_all, record_reads, write_tar

GNU_TAR = shutil.which("tar")
IS_GNU = bool(GNU_TAR) and "GNU" in subprocess.check_output([GNU_TAR, "--version"], text=True)
needs_gnu_tar = pytest.mark.skipif(not IS_GNU, reason="needs GNU tar")
SPARSE = ("gnu", "pax 0.0", "pax 0.1", "pax 1.0")


def with_holes(pieces: int) -> bytes:
    """Bytes as of a drawing: areas of zeros between others."""
    rng = random.Random(pieces)
    return b"".join(rng.randbytes(700 + 512 * n % 3000) + bytes(20_000) for n in range(pieces))


def pack(path: Path, files: dict[str, bytes], layout: str) -> str:
    """Write a tar with GNU tar, with holes where there are zeros."""
    folder = path.with_suffix("")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    kind, _, version = layout.partition(" ")
    options = [f"--format={kind}", *([f"--sparse-version={version}"] if version else [])]
    command = [GNU_TAR, "--sparse", "--hole-detection=raw", *options, "-cf", path, *files]
    subprocess.run(command, cwd=folder, check=True)
    return str(path)


def contents(source, storage) -> dict[str, object]:
    """The bytes of each member, or the kind of error."""
    rows = read_all(source, storage)
    names = [uri.partition("#")[2] for uri in rows["uri"].to_pylist()]
    found = [getattr(x, "data", None) or x for _, x in fetch_images(storage, rows)]
    return dict(zip(names, found, strict=True))


@needs_gnu_tar
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_members_are_read_with_their_holes_and_those_behind_are_right(
    tmp_path, storage, layout
):
    files = {
        "few.bmp": with_holes(3),
        "many.bmp": with_holes(60),  # more pieces than one header holds
        "n" * 120 + ".bmp": bytes(5000) + with_holes(2),
        "behind.jpg": b"jpeg" * 700,
        "zeros.tif": bytes(100_000),
    }
    source = open_source(pack(tmp_path / "a.tar", files, layout), storage)

    assert contents(source, storage) == files


@needs_gnu_tar
@pytest.mark.parametrize("layout", SPARSE)
def test_damaged_sparse_member_is_unreadable_and_hurts_no_other(tmp_path, storage, layout):
    files = {"a.bmp": with_holes(5), "b.jpg": b"x" * 600}
    path = pack(tmp_path / "a.tar", files, layout)
    rows = read_all(open_source(path, storage), storage)
    data = Path(path).read_bytes()
    for cut in range(512, 3072, 37):
        changed = data[:cut] + bytes(200) + data[cut + 200 :]
        Path(path).write_bytes(changed)
        rows = rows.set_column(5, rows.schema.field(5), [[storage.head(path).etag] * 2])
        for _, outcome in fetch_images(storage, rows):
            assert not isinstance(outcome, FetchError) or outcome.kind == "unreadable"


def test_a_member_that_lies_elsewhere_is_never_taken_for_another(tmp_path, storage):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"1" * 700, "b.jpg": b"2" * 700})
    etag = storage.head(path).etag

    assert read_member(storage, path, Place(512, 700), etag).data == b"1" * 700
    for place in (Place(512, 699), Place(1024, 700), Place(1536, 100), Place(512, None)):
        with pytest.raises(FetchError, match="no such member at byte") as caught:
            read_member(storage, path, place, etag)
        assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("padding", [0, 512, 1_000_000])
def test_tars_that_were_put_one_behind_the_other_are_read_to_the_end(tmp_path, storage, padding):
    files = [{f"{n}.jpg": bytes([n]) * 700} for n in range(1, 4)]
    parts = [Path(write_tar(tmp_path / f"{n}.tar", x)) for n, x in enumerate(files)]
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(part.read_bytes() + bytes(padding) for part in parts))
    source = open_source(str(whole), storage)

    assert contents(source, storage) == files[0] | files[1] | files[2]
    assert source.passed_over == {}


@pytest.mark.parametrize("tail", [b"a signature", bytes(5000) + b"no header" * 100])
def test_what_follows_the_end_and_is_no_tar_is_said(tmp_path, storage, tail):
    path = Path(write_tar(tmp_path / "a.tar", {"a.jpg": b"1"}))
    path.write_bytes(path.read_bytes() + tail)
    source = open_source(str(path), storage)

    assert contents(source, storage) == {"a.jpg": b"1"}
    assert source.passed_over == {AFTER_THE_END: 1}


def test_zeros_behind_the_end_are_not_read_for_ever(tmp_path, storage, monkeypatch):
    path = Path(write_tar(tmp_path / "a.tar", {"a.jpg": b"1"}))
    with path.open("r+b") as file:
        file.truncate(40 << 30)  # takes no space
    sizes = record_reads(monkeypatch)
    source = open_source(str(path), storage)

    assert read_all(source, storage).num_rows == 1
    assert sum(sizes) < 64 << 20
    assert source.passed_over == {AFTER_THE_END: 1}


@pytest.mark.parametrize("lost", [512, 1024, 4096])
def test_members_behind_a_header_that_was_zeroed_are_not_taken_for_the_end(tmp_path, storage, lost):
    path = Path(write_tar(tmp_path / "a.tar", {f"{n}.jpg": b"x" * 3000 for n in range(9)}))
    data = path.read_bytes()
    path.write_bytes(data[:3584] + bytes(lost) + data[3584 + lost :])

    with pytest.raises(JobError, match=r"a\.tar is damaged: no header at byte 3,584"):
        read_all(open_source(str(path), storage), storage)


def test_size_may_be_in_a_pax_header_alone(tmp_path, storage):
    member = tarfile.TarInfo("a.jpg")
    member.pax_headers = {"size": "700"}
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    body = path.read_bytes()[: 3 * 512] + b"1" * 700 + bytes(324)
    path.write_bytes(body + Path(write_tar(tmp_path / "b.tar", {"b.jpg": b"2"})).read_bytes())

    source = open_source(str(path), storage)
    assert contents(source, storage) == {"a.jpg": b"1" * 700, "b.jpg": b"2"}


@pytest.mark.parametrize("size", [-1, -10_240, 1 << 70], ids=str)
def test_impossible_sizes_are_damage(tmp_path, storage, size):
    path = Path(write_tar(tmp_path / "a.tar", {"a.jpg": b"1", "b.jpg": b"2"}))
    header = tarfile.TarInfo("a.jpg")
    header.size = size
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())

    with pytest.raises(JobError, match=r"a\.tar is damaged"):
        read_all(open_source(str(path), storage), storage)
