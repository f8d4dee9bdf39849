"""`serve run serving.app:build_app [key=value …]`: the service as a Ray Serve application."""

from typing import Any

import click
import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig, DeploymentActorConfig
from ray.serve.schema import LoggingConfig

from model_repo.inception_v3 import ModelError
from model_repo.inception_v3.options import count_shares
from model_repo.inception_v3.repository.locate import find_model
from serving.config import ConfigError, ServingConfig, load_config
from serving.deployment import NAME, Labelmill
from serving.launch import start_serve
from serving.replicas.coordinator import ACTOR_NAME, Coordinator

# The service's own limit is lower and answers in JSON; Serve's catches whatever gets past it.
_MAX_REQUESTS = 512
_SHARE = 0.5  # of a core or GPU for each replica: a rolling update needs room for twice as many


def build_app(args: dict[str, Any]) -> Application:
    """Build the application: one deployment, as `serving.config.ServingConfig` describes it.

    Where no Ray runs in this process yet, this starts Ray and Serve, with gRPC, on the host and
    ports of the arguments.

    Raises:
        ConfigError: an argument is wrong, or a model or its weights cannot be used.
    """
    try:
        config = load_config(args)
        for reference in config.models:
            find_model(config.source(reference))
        if not ray.is_initialized():
            start_serve(config)
    except (ConfigError, ModelError, OSError) as exc:
        if click.get_current_context(silent=True) is None:
            raise
        # On the command line, one sentence instead of a traceback. The model's own errors name
        # options as `labelmill label` spells them.
        raise click.ClickException(str(exc).replace("--weights ", "weights=")) from exc
    return build_deployment(config, ray.cluster_resources()).bind(config)


def build_deployment(config: ServingConfig, resources: dict[str, float]) -> serve.Deployment:
    """Build the deployment for a cluster with `resources`; config files can override options."""
    num_cpus, num_gpus, most = _replica_resources(config, resources)
    coordinator = DeploymentActorConfig(
        name=ACTOR_NAME,
        actor_class=ray.remote(Coordinator),
        init_kwargs={"references": list(config.models)},
        actor_options={"num_cpus": 0},
    )
    return serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": num_cpus, "num_gpus": num_gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=config.min_replicas,
            max_replicas=config.max_replicas or max(most, config.min_replicas),
            target_ongoing_requests=config.target_ongoing_requests,
            upscale_delay_s=config.upscale_delay_s,
            downscale_delay_s=config.downscale_delay_s,
            look_back_period_s=15,
        ),
        max_ongoing_requests=_MAX_REQUESTS,
        max_queued_requests=_MAX_REQUESTS,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        max_surge_percent=100,  # a new replica answers before an old one goes
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=config.request_timeout_s + 5,
        graceful_shutdown_wait_loop_s=0.5,
        deployment_actors=[coordinator],
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=False),
    )(serve.ingress()(Labelmill))


def _replica_resources(
    config: ServingConfig, resources: dict[str, float]
) -> tuple[float, float, int]:
    """Return the CPUs and GPUs of a replica, and how many replicas the cluster has room for."""
    cpus, gpus = resources.get("CPU", 1), int(resources.get("GPU", 0))
    num_gpus = config.num_gpus
    if num_gpus is None:
        num_gpus = _SHARE if gpus and config.runtime != "openvino" else 0
    if not num_gpus:
        return config.num_cpus or _SHARE, 0, int(cpus / max(1, config.num_cpus or 1))
    most = gpus if config.num_gpus is None else count_shares(max(1, gpus), num_gpus)
    return config.num_cpus or max(1, int(cpus / most / 2)), num_gpus, most
