import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.demo.seaweedfs import S3Server, run_seaweedfs
from tests.support.service import RunningService, run_service

S3_FIXTURES = {"seaweedfs", "s3_environment", "s3_bucket", "s3_client"}


def pytest_configure() -> None:
    # A shell without job control starts what it puts into the background with Ctrl-C ignored, and
    # children inherit that; some tests interrupt theirs.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if S3_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("s3")


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, one for the whole run; `as_reader()` has keys that may not write."""
    with run_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture
def s3_environment(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Point this process and its children at the server, and at nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in seaweedfs.child_environment().items():
        monkeypatch.setenv(name, value)
    return seaweedfs


@pytest.fixture
def s3_client(seaweedfs: S3Server):
    """An S3 client with the owner's keys, for arranging and looking, whatever the environment."""
    client = seaweedfs.client()
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_environment: S3Server, s3_client) -> Iterator[str]:
    """The name of a fresh, empty bucket; the environment points at its server."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=bucket)
    yield bucket
    s3_client.delete_bucket(Bucket=bucket)  # SeaweedFS takes what is in it along


@pytest.fixture
def sample_photos() -> list[Path]:
    """The photos that ship with the package, sorted by name."""
    folder = Path(__file__).parents[1] / "jobs" / "demo" / "samples"
    return sorted(path for path in folder.iterdir() if path.suffix in {".jpg", ".png"})


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one replica of untrained weights, for all who do it no harm."""
    with run_service(tmp_path_factory.mktemp("service"), "max_replicas=1") as running:
        yield running
