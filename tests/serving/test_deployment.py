from types import SimpleNamespace

import pytest

from serving.config import ServingConfig, UserConfig
from serving.deployment import Labelmill
from serving.service import Service


class Models:
    def reconfigure(self, limits: UserConfig) -> None:
        pass


@pytest.fixture
def replica() -> SimpleNamespace:
    """What of a replica takes part in its reconfiguration."""
    return SimpleNamespace(service=Service(ServingConfig(max_pixels=7), Models(), None, None))


def test_user_config_changes_limits_and_leaves_the_others(replica):
    Labelmill.reconfigure(replica, {"max_body_bytes": 1000})

    assert replica.service.limits.max_body_bytes == 1000
    assert replica.service.limits.max_pixels == 7


@pytest.mark.parametrize("wrong", [{"max_body_bytes": "64MB"}, {"max_boby_bytes": 1}])
def test_wrong_user_config_ends_no_replica_and_is_logged(replica, wrong, caplog):
    Labelmill.reconfigure(replica, {"max_body_bytes": 1000})

    Labelmill.reconfigure(replica, wrong)

    assert replica.service.limits.max_body_bytes == 1000
    assert next(iter(wrong)) in caplog.text
