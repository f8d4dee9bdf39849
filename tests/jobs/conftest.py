"""Jobs in the small: a folder of good and odd files, and a job without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.commit.commit import merge_part, plan_parts
from jobs.commit.record import read_record
from jobs.job.checks import check_job
from jobs.job.inference import InferenceSpec
from jobs.job.job import Job
from jobs.job.model import load_classifier
from jobs.job.resolve import resolve_job
from jobs.job.spec import load_job_spec
from jobs.labelling.decode import read_images
from jobs.progress import JobProgress
from jobs.resources import Resources
from jobs.run import run_job
from jobs.storage import Storage
from model_repo.inception_v3 import Classifier
from tests.support.jobs import build_zoo, label_chunks, read_rows


@pytest.fixture(scope="session")
def zoo() -> dict[str, bytes]:
    """Name → bytes of images that can be labelled, and of files that cannot."""
    return build_zoo()


@pytest.fixture
def photos(tmp_path: Path, zoo: dict[str, bytes]) -> Path:
    """A folder with the zoo in it."""
    folder = tmp_path / "photos"
    for name, body in zoo.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Resolve a job as the command does, for a machine of two cores."""

    def make(input_: object, output: object, **options: Any) -> Job:
        values = {"weights": "untrained", **options, "input": str(input_), "output": str(output)}
        checked = check_job(load_job_spec(values), Storage())
        return resolve_job(checked, Resources(cpus=2, gpus=0))

    return make


@pytest.fixture
def run_inline(make_job: Callable[..., Job]) -> Callable[..., list[dict[str, Any]]]:
    """Run the stages of a job in this process, without Ray, and return its rows."""

    def run(input_: object, output: object, **options: Any) -> list[dict[str, Any]]:
        job = make_job(input_, output, **options)
        list(label_chunks(job))
        for part in plan_parts(Storage(), job.layout):
            merge_part(part)
        return read_rows(Path(str(output)))

    return run


@pytest.fixture(scope="session")
def classifiers() -> dict[Any, Classifier]:
    """Loaded models, so that a test that runs many jobs loads its model once."""
    return {}


@pytest.fixture
def run_job_here(
    monkeypatch: pytest.MonkeyPatch, classifiers: dict[Any, Classifier]
) -> Callable[..., dict[str, Any]]:
    """Run a whole job, with all that it does before and after the stages, without Ray."""

    def load(inference: InferenceSpec, storage: Storage) -> Classifier:
        if inference not in classifiers:
            classifiers[inference] = load_classifier(inference, storage)
        return classifiers[inference]

    monkeypatch.setattr("jobs.labelling.stages.load_classifier", load)
    # Care takes a process of its own, which has its own tests.
    monkeypatch.setattr("jobs.labelling.stages.read_isolated", read_images)
    monkeypatch.setattr("jobs.run.build_dataset", lambda *arguments: arguments)
    monkeypatch.setattr("jobs.run.run_dataset", lambda dataset: label_chunks(*dataset))

    def run(job: Job, **options: Any) -> dict[str, Any]:
        with JobProgress() as progress:
            storage = Storage()
            record = read_record(storage, job.layout)
            return run_job(job, record, storage, progress, **options)

    return run
