"""The images of the chaos tests, and what their rows must say."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.chaos.harness import Job, LocalPlace, Reference, check_ending, read_rows
from tests.chaos.images import build_images, write_photos

OPTIONS = ("--weights", "untrained")


@pytest.fixture(scope="session")
def images() -> dict[str, bytes]:
    """Name → bytes of about 150 small files, a few of them broken: five chunks."""
    return build_images()


@pytest.fixture(scope="session")
def environment(ray_home: Path) -> dict[str, str]:
    """What every job here starts from: no storage and no Ray of the user's."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))
    }
    return kept | {"RAY_TMPDIR": str(ray_home)}


@pytest.fixture(scope="session")
def photos(images: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images in it, called `photos`."""
    return write_photos(images, tmp_path_factory.mktemp("input"))


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start a job: `start(input, output, *options, **environment)`; none outlives the test."""
    jobs: list[Job] = []

    def start_job(input_: object, output: object, *options: str, **more: str) -> Job:
        arguments = ["label", str(input_), str(output), *OPTIONS, *options]
        job = Job(arguments, environment | more, tmp_path / f"run-{len(jobs)}.log")
        jobs.append(job)
        return job

    yield start_job
    for job in jobs:
        with job:
            pass


@pytest.fixture(scope="session")
def reference(
    photos: Path,
    shared_ray: dict[str, str],
    run_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Reference:
    """The rows of all images, from the same command with nothing in its way; made once in a run."""
    kept = run_folder / "reference.json"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            folder = tmp_path_factory.mktemp("reference")
            out = LocalPlace(folder / "out")
            arguments = ["label", str(photos), out.uri, *OPTIONS]
            with Job(arguments, shared_ray, folder / "run.log") as job:
                check_ending(job, job.wait(), (3,))
            kept.write_text(json.dumps(read_rows(out.root)))
    return json.loads(kept.read_text())
