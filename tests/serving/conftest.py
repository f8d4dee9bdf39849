from collections.abc import Iterator

import pytest

from tests.serving.service import RunningService, run_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one replica of untrained weights, for all who do it no harm."""
    with run_service(tmp_path_factory.mktemp("service"), "max_replicas=1") as running:
        yield running
