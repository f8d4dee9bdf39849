"""Jobs in the small: a folder of good and odd files, and a job without Ray."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.commit.commit import merge_part, plan_parts
from jobs.job.job import Plan, Resources
from jobs.job.model import load_classifier
from jobs.job.resolve import make_plan
from jobs.job.spec import JobSpec, load_job_spec
from jobs.labelling.decode import read_images
from jobs.labelling.stages import ChunkLabeller
from jobs.listing.chunks import Summary, pack_table
from jobs.listing.stream import list_chunks
from jobs.progress import JobProgress
from jobs.run import run_job
from jobs.storage import Storage
from model_repo.inception_v3 import Classifier
from tests.support.images import encode, photo

GOOD = ("a good one.jpg", "folder/ünï#1.png", "rotated.jpg", "wide.webp")
ODD = {
    "empty.jpg": ("unreadable", b""),
    "notes.txt": ("unreadable", b"not an image"),
    "truncated.jpg": ("unreadable", encode(photo(400, 300), "JPEG")[:4000]),
    "bomb.png": ("too_large", encode(photo(8, 8), "PNG")),
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted networks away from the user's own, and share them among tests."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def zoo() -> dict[str, bytes]:
    """Name → bytes of images that can be labelled, and of files that cannot."""
    files = {name: body for name, (_, body) in ODD.items()}
    files["bomb.png"] = _with_declared_size(files["bomb.png"], 30_000, 30_000)
    files["a good one.jpg"] = encode(photo(500, 375, seed=1), "JPEG", quality=90)
    files["folder/ünï#1.png"] = encode(photo(360, 480, seed=2), "PNG")
    files["wide.webp"] = encode(photo(700, 350, seed=3), "WEBP", quality=95)
    files["rotated.jpg"] = encode(photo(400, 300, seed=4), "JPEG", exif=_orientation(6))
    return files


@pytest.fixture
def photos(tmp_path: Path, zoo: dict[str, bytes]) -> Path:
    """A folder with the zoo in it."""
    folder = tmp_path / "photos"
    for name, body in zoo.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def plan_job() -> Callable[..., Plan]:
    """Make a plan as the command does, for a machine of two cores."""

    def plan(input_: object, output: object, **options: Any) -> Plan:
        values = {"weights": "untrained", **options, "input": str(input_), "output": str(output)}
        resources = Resources(cpus=2, gpus=0)
        return make_plan(load_job_spec(values), Storage(), lambda: resources)

    return plan


@pytest.fixture
def run_inline(plan_job: Callable[..., Plan]) -> Callable[..., list[dict[str, Any]]]:
    """Run the stages of a job in this process, without Ray, and return its rows."""

    def run(input_: object, output: object, **options: Any) -> list[dict[str, Any]]:
        plan = plan_job(input_, output, **options)
        list(label_chunks(plan))
        for part in plan_parts(Storage(), plan.layout):
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

    def load(spec: JobSpec, storage: Storage, options: Any, origin: Any) -> Classifier:
        if (options, origin) not in classifiers:
            classifiers[options, origin] = load_classifier(spec, storage, options, origin)
        return classifiers[options, origin]

    monkeypatch.setattr("jobs.labelling.stages.load_classifier", load)
    # Care takes a process of its own, which has its own tests.
    monkeypatch.setattr("jobs.labelling.stages.read_carefully", read_images)
    monkeypatch.setattr("jobs.run.build_dataset", lambda plan, done: (plan, done))
    monkeypatch.setattr("jobs.run.run_dataset", lambda dataset: label_chunks(*dataset))

    def run(plan: Plan, **options: Any) -> dict[str, Any]:
        with JobProgress() as progress:
            return run_job(plan, Storage(), progress, **options).record

    return run


def label_chunks(plan: Plan, done: frozenset[str] = frozenset()) -> Iterator[Summary]:
    """Do in this process what the dataset's stages do on Ray."""
    label = ChunkLabeller(plan)
    for chunk, total in list_chunks(plan, done):
        row = label({"id": [chunk.id], "objects": [pack_table(chunk.objects)], "total": [total]})
        yield Summary(**{name: values[0] for name, values in row.items()})


def chunk_tables(output: Path) -> dict[str, pa.Table]:
    """Read the rows of a job without its commit: name of a chunk's file → its table."""
    folder = output / "_labelmill" / "chunks"
    return {path.name: pq.read_table(path) for path in sorted(folder.iterdir())}


def read_rows(output: Path) -> list[dict[str, Any]]:
    """Read a local predictions dataset, with the outcome as a column."""
    rows = []
    for path in sorted(output.glob("outcome=*/*.parquet")):
        outcome = path.parent.name.removeprefix("outcome=")
        table = pq.ParquetFile(path).read()
        rows += table.append_column("outcome", pa.array([outcome] * table.num_rows)).to_pylist()
    return rows


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def _with_declared_size(png: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
