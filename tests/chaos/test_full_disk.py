"""A disk that fills up in the middle of a job."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import Job, LocalPlace, Reference, check_dataset, check_ending
from tests.chaos.images import write_photos

pytestmark = pytest.mark.ray


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB: the embeddings of 64 images are more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount("-t", "tmpfs", "-o", "size=300k", "labelmill-test", str(folder))
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        pytest.skip(str(exc))


def test_a_full_disk_ends_in_a_sentence_and_the_next_run_completes_the_job(
    small_disk: Path,
    start: Callable[..., Job],
    shared_ray: dict[str, str],
    images: dict[str, bytes],
    reference: Reference,
    tmp_path: Path,
):
    few = {name: images[name] for name in sorted(images)[:64]}
    photos = write_photos(few, tmp_path / "input")
    place = LocalPlace(small_disk / "out")
    options = ("--emit", "classification,embedding")

    job = start(photos, place.uri, *options, **shared_ray)
    check_ending(job, job.wait(), (1,))
    assert "no space left" in job.said.lower()

    assert mount("-o", "remount,size=50m", str(small_disk)).returncode == 0
    job = start(photos, place.uri, *options, **shared_ray)
    check_ending(job, job.wait(), (0,))
    check_dataset(place, tmp_path / "copy", {name: reference[name] for name in few})
