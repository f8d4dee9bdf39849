from collections.abc import Iterator

import pytest

from tests.serving.cluster import Cluster, run_cluster
from tests.serving.service import RunningService, run_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one replica of untrained weights, for all who do it no harm."""
    with run_service(tmp_path_factory.mktemp("service"), "max_replicas=1") as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the service is deployed on anew by each test."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.deploy({"max_replicas": 1})
        running.wait_until_running()
        yield running
