"""Reading in a child process that really dies."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import JobError
from jobs.labelling.child_reader import MAX_DEATHS, read_isolated
from jobs.labelling.decode import read_images
from jobs.listing.stream import list_chunks
from tests.support.images import encode, photo
from tests.support.killing import sitecustomize as killing
from tests.support.killing.sitecustomize import MAGIC
from tests.support.service import wait_until

KILLING = str(Path(killing.__file__).parent)


@pytest.fixture
def kill(monkeypatch):
    """Make children of this process die."""

    def at(place, once=None):
        monkeypatch.setenv("PYTHONPATH", KILLING + os.pathsep + os.environ.get("PYTHONPATH", ""))
        monkeypatch.setenv("KILL_AT", place)
        if once:
            monkeypatch.setenv("KILL_ONCE", str(once))

    return at


@pytest.fixture
def chunk(tmp_path, make_job):
    """Objects and inference of a folder of five photos, of which the third kills."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        comment = MAGIC if number == 2 else b"harmless"
        data = encode(photo(200, 150, seed=number), "JPEG", comment=comment)
        (folder / f"{number}.jpg").write_bytes(data)
    job = make_job(folder, tmp_path / "out")
    ((chunk, _),) = list_chunks(job, frozenset())
    return chunk.objects, job.inference


def assert_same(images, expected):
    assert [image.row for image in images] == [image.row for image in expected]
    for image, other in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image.pixels, other.pixels)


def test_care_changes_nothing_of_what_is_read(photos, tmp_path, make_job):
    job = make_job(photos, tmp_path / "out")
    ((chunk, _),) = list_chunks(job, frozenset())

    assert_same(
        list(read_isolated(chunk.objects, job.inference)),
        list(read_images(chunk.objects, job.inference)),
    )


def test_an_image_that_kills_its_process_is_a_row_and_its_neighbours_are_read(chunk, kill):
    kill("decode")

    images = list(read_isolated(*chunk))

    killer = images.pop(2)
    assert (killer.row.index, killer.row.error_kind, killer.pixels) == (2, "crashed", None)
    assert killer.row.etag == chunk[0].column("etag")[2].as_py()
    assert f"the process that decoded it died {MAX_DEATHS} times (SIGSEGV)" in killer.row.error
    assert_same(images, [image for image in read_images(*chunk) if image.row.index != 2])


def test_a_process_that_dies_once_costs_no_row(chunk, kill, tmp_path):
    kill("decode", once=tmp_path / "killed")

    images = list(read_isolated(*chunk))

    assert (tmp_path / "killed").exists()
    assert_same(images, list(read_images(*chunk)))


def test_a_process_that_cannot_even_start_is_no_images_fault(chunk, kill):
    kill("start")

    with pytest.raises(JobError, match=r"died 3 times as it started \(SIGKILL\).*fewer --actors"):
        list(read_isolated(*chunk))


def test_no_child_outlives_its_reader(chunk):
    reading = read_isolated(*chunk)
    next(reading)
    (child,) = children_of(os.getpid())

    reading.close()

    assert not Path(f"/proc/{child}").exists()


def test_a_child_dies_with_its_worker(chunk, tmp_path):
    script = """if __name__ == "__main__":
        import pickle, sys, time
        from jobs.labelling.child_reader import read_isolated
        reading = read_isolated(*pickle.load(open(sys.argv[1], "rb")))
        next(reading)
        print("reading", flush=True)
        time.sleep(60)
    """
    (tmp_path / "worker.py").write_text(script)
    (tmp_path / "chunk").write_bytes(pickle.dumps(chunk))
    command = [sys.executable, tmp_path / "worker.py", tmp_path / "chunk"]
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as worker:
        assert worker.stdout.readline() == "reading\n"
        (child,) = children_of(worker.pid)
        worker.send_signal(signal.SIGKILL)

    wait_until(lambda: not Path(f"/proc/{child}").exists())


def children_of(process_id):
    """Return the ids of processes that decode for another."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = path.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == process_id and b"spawn_main" in path.joinpath("cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found
