from types import SimpleNamespace

import pytest

from serving.app import build_deployment
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


@pytest.mark.parametrize(
    ("config", "cpus", "gpus", "most"),
    [
        ({}, 2, 0.5, 4),  # a rolling update finds room for four more
        ({"num_gpus": 0.7}, 2, 0.7, 4),
        ({"num_gpus": 0.3}, 1, 0.3, 12),
        ({"num_gpus": 0}, 0.5, 0, 16),
        ({"runtime": "openvino"}, 0.5, 0, 16),
        ({"num_gpus": 0, "num_cpus": 4}, 4, 0, 4),
    ],
)
def test_replicas_have_room_on_the_cluster(config, cpus, gpus, most):
    deployment = build_deployment(ServingConfig(**config), {"CPU": 16.0, "GPU": 4.0})

    assert deployment.ray_actor_options == {"num_cpus": cpus, "num_gpus": gpus}
    assert deployment._deployment_config.autoscaling_config.max_replicas == most
