"""What all tests share, and how they are spread over processes."""

import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import settings

from jobs.demo import seaweedfs as seaweedfs_module
from jobs.demo.seaweedfs import S3Server, run_seaweedfs
from tests.support.ray_head import ray_head
from tests.support.service import RunningService, clean_environment, ray_folder, run_service

S3_FIXTURES = {"seaweedfs", "s3_environment", "s3_bucket", "s3_client"}

# Tests that share an expensive fixture run one after another in one process, and so do the tests of
# a file; processes run side by side. What takes longest begins first: LONGEST, then these, then
# what starts a Ray of its own, then the rest.
SHARED_FIXTURES = (
    "cluster",
    "service",
    "slow_service",
    "hasty",
    "pair",
    "guarded",
    "calibrated_model",
)

LONGEST = "tests/chaos/"

OPENED = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slowest-files", type=int, help="name so many files that took longest")
    parser.addoption("--long", action="store_true", help="more rounds, more made-up requests")
    parser.addoption("--minutes", type=float, help="begin no test later than that; skip the rest")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OPENED] = ExitStack()
    long = config.getoption("--long")
    settings.register_profile("labelmill", max_examples=10_000 if long else 300, deadline=None)
    settings.load_profile("labelmill")
    # A shell without job control starts what it puts into the background with Ctrl-C ignored, and
    # children inherit that; some tests interrupt theirs.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Threads of torch's that wait for one another would burn what their neighbours need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Chosen here once: the processes of pytest-xdist inherit it, and collect the same rounds.
    for name, value in (
        ("CHAOS_ROUNDS", 10 if long else 2),
        ("CHAOS_SEED", random.SystemRandom().randrange(10_000)),
        ("TESTS_BEGAN_AT", time.time()),
    ):
        os.environ[name] = os.environ.get(name) or str(value)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long bytes by their number: compressed ones differ from process to process."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 40 else None


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups next
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if S3_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("s3")
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_place)


def _group(item: pytest.Item) -> str:
    names = getattr(item, "fixturenames", ())
    return next((name for name in SHARED_FIXTURES if name in names), item.location[0])


def _place(item: pytest.Item) -> int:
    group = _group(item)
    if group.startswith(LONGEST):
        return -1
    if group in SHARED_FIXTURES:
        return SHARED_FIXTURES.index(group)
    return len(SHARED_FIXTURES) + (item.get_closest_marker("ray") is None)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or _group(nextitem) != _group(item):
        item.config.stash[OPENED].close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and time.time() > float(os.environ["TESTS_BEGAN_AT"]) + 60 * minutes:
        pytest.skip("out of time")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = terminalreporter.config.getoption("--slowest-files")
    if count is None:
        return
    seconds: Counter[str] = Counter()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.location[0]] += report.duration
    terminalreporter.section(f"slowest {count} files")
    for file, spent in seconds.most_common(count):
        terminalreporter.write_line(f"{spent:7.1f} s  {file}")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that all processes of a run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session", autouse=True)
def cache_home(run_folder: Path) -> Iterator[Path]:
    """The cache folder of a whole run, not the user's: a network is converted once."""
    cache = run_folder / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache


@pytest.fixture(scope="session", autouse=True)
def ray_home() -> Iterator[Path]:
    """Where the Rays of this process keep their sessions, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch, ray_folder() as folder:
        patch.setenv("RAY_TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def own_ports(worker_id: str) -> Iterator[None]:
    """Choose ports that no other process of this run chooses at the same time."""
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seaweedfs_module, "PORTS", seaweedfs_module.PORTS[number % 8 :: 8])
        yield


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, one per process of a run; `as_reader()` has keys that may not write."""
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
def opened(pytestconfig: pytest.Config) -> ExitStack:
    """What ends with the last test of a group, and not only with the run: memory is scarce."""
    return pytestconfig.stash[OPENED]


@pytest.fixture(scope="session")
def shared_ray(
    tmp_path_factory: pytest.TempPathFactory, seaweedfs: S3Server
) -> Iterator[dict[str, str]]:
    """The environment of jobs that join one Ray, one per process of a run.

    Its workers know the S3 server, and look for downloaded weights in a TORCH_HOME of their own.
    """
    home = tmp_path_factory.mktemp("torch")
    environment = seaweedfs.child_environment() | clean_environment() | seaweedfs.environment()
    environment |= {"TORCH_HOME": str(home)}
    with ray_head(environment) as address:
        yield environment | {"RAY_ADDRESS": address}


@pytest.fixture(scope="session")
def service(opened: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """A service with one replica of untrained weights, for all who do it no harm."""
    folder = tmp_path_factory.mktemp("service")
    return opened.enter_context(run_service(folder, "max_replicas=1"))
