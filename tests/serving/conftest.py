import hashlib
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, run_cluster
from tests.support.service import FAULTS, RunningService, run_service

TOKENS = ("first-token", "second-token", "token-of-the-environment")


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of two replicas that asks for tokens; its model only sleeps, 20 ms for an image."""
    folder = tmp_path_factory.mktemp("guarded")
    first, second, third = (hashlib.sha256(token.encode()).hexdigest() for token in TOKENS)
    tokens = folder / "tokens"
    tokens.write_text(f"# who may ask\n{first}  the web back end\n\n{second.upper()}\n")
    environment = {
        "LABELMILL_TOKENS": f"{third}, {first}",
        "FORWARD_SECONDS": "0.02",
        "RAY_metrics_report_interval_ms": "1000",
    }
    replicas = ("min_replicas=2", "max_replicas=2", f"tokens_file={tokens}")
    with run_service(folder, *replicas, environment=FAULTS | environment) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the service is deployed on anew by each test."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.deploy({"max_replicas": 1})
        running.wait_until_running()
        yield running
