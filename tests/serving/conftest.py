import hashlib
from contextlib import ExitStack

import pytest

from tests.support.cluster import Cluster, run_cluster
from tests.support.service import (
    FAULTS,
    PATIENCE_S,
    SLOW_FORWARD_S,
    TOKENS,
    RunningService,
    run_service,
)


@pytest.fixture(scope="session")
def slow_service(opened: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """A service whose model only sleeps, so that its speed is the same on a busy machine."""
    slow = FAULTS | {"FORWARD_SECONDS": str(SLOW_FORWARD_S)}
    folder = tmp_path_factory.mktemp("slow")
    return opened.enter_context(
        run_service(folder, "max_replicas=1", "max_queue_s=2", environment=slow)
    )


@pytest.fixture(scope="session")
def hasty(opened: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """A service that waits a few seconds for a request, or for its answer."""
    folder, patience = tmp_path_factory.mktemp("hasty"), f"request_timeout_s={PATIENCE_S}"
    return opened.enter_context(run_service(folder, "max_replicas=1", patience))


@pytest.fixture(scope="session")
def guarded(opened: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
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
    return opened.enter_context(run_service(folder, *replicas, environment=FAULTS | environment))


@pytest.fixture(scope="session")
def cluster(opened: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster that the service is deployed on anew by each test."""
    running = opened.enter_context(run_cluster(tmp_path_factory.mktemp("cluster")))
    running.deploy({"max_replicas": 1})
    running.wait_until_running()
    return running
