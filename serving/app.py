"""`serve run serving.app:build_app [key=value …]`: the service as a Ray Serve application."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import (
    AutoscalingConfig,
    BackpressureConfig,
    DeploymentActorConfig,
    HTTPOptions,
    gRPCOptions,
)
from ray.serve.schema import LoggingConfig

from model_repo.inception_v3 import ModelError
from model_repo.inception_v3.options import count_shares
from model_repo.inception_v3.repository.locate import find_model
from serving.config import ConfigError, ServingConfig, UserConfig, load_config
from serving.deployment import LEDGER, NAME, Labelmill
from serving.http import proxy
from serving.replicas.coordinator import Ledger
from serving.storage import S3Store

SERVICER = "serving.grpc.servicer:add_inference_service"

# Behind the service's own limit, which answers in JSON: Serve's is for what gets past that.
_MAX_REQUESTS = 512
_SHARE = 0.5  # of a core or GPU for a replica: a rolling update has to find room for twice as many


def build_app(args: dict[str, Any]) -> Application:
    """Build the application: one deployment, as `serving.config.ServingConfig` describes it.

    Where `serve run` has not been told of any cluster, this starts Ray and Serve, with gRPC, on the
    hosts and ports of the arguments.

    Raises:
        ConfigError: an argument, a model or its weights are not what they must be.
    """
    with _plain_errors():
        config = load_config(args)
        _check_models(config)
        if not ray.is_initialized():
            _start_serve(config)
    return build_deployment(config, ray.cluster_resources()).bind(config)


def build_deployment(config: ServingConfig, resources: dict[str, float]) -> serve.Deployment:
    """Build the deployment for a cluster that has `resources`; config files can change options."""
    num_cpus, num_gpus, most = _replica_resources(config, resources)
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
        deployment_actors=[
            DeploymentActorConfig(
                name=LEDGER,
                actor_class=ray.remote(Ledger),
                init_kwargs={"references": list(config.models)},
                actor_options={"num_cpus": 0},
            )
        ],
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


def _check_models(config: ServingConfig) -> None:
    for reference in config.models:
        find_model(config.source(reference), S3Store())


def _start_serve(config: ServingConfig) -> None:
    """Start what `serve run` would start, but with gRPC, and such that SIGTERM ends it in order."""
    options = _serve_run_options()
    if options.get("runtime_env") or options.get("runtime_env_json") or options.get("working_dir"):
        raise ConfigError("a runtime_env needs a cluster that Serve runs on: use serve deploy")
    for name, value in _environment(config).items():
        os.environ.setdefault(name, value)
    # As for jobs: a Ray of its own, unless a cluster is named.
    address = options.get("address") or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        _check_port("port", config.host, config.port)
        _check_port("grpc_port", "", config.grpc_port)
    ray.init(address=address, namespace="serve")
    serve.start(
        http_options=HTTPOptions(host=config.host, port=config.port),
        grpc_options=gRPCOptions(
            port=config.grpc_port,
            grpc_servicer_functions=[SERVICER] if config.grpc_port else [],
            request_timeout_s=config.request_timeout_s + 1,  # for when a replica does not answer
        ),
    )
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)


def _environment(config: ServingConfig) -> dict[str, str]:
    """Return what the processes that Ray starts here are to find in their environment."""
    return {
        # At Ray's own 15, a replica would get next to nothing beside anything else that runs.
        "RAY_worker_niceness": "0",
        # By default it starts workers first, and waits for ever if one dies while it starts.
        "RAY_prestart_worker_first_driver": "0",
        # By default ten times a second each: the controller looks whether all is as it should be,
        # and replicas add up their metrics. That takes as much CPU time as a replica's requests.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        # What Ray counts of itself, and how often.
        "RAY_event_stats": "0",
        "METRICS_RECORD_INTERVAL_S": "60",
        # No message is read whole that would be refused after it.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(config.max_body_bytes),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": proxy.CALLBACK,
        proxy.VARIABLE: config.model_dump_json(include=set(UserConfig.model_fields)),
    }


def _check_port(argument: str, host: str, port: int) -> None:
    """Check that nobody listens there: Serve would go on trying without end."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as exc:
        raise ConfigError(
            f"{argument} {port} of host {host or '*'} cannot be listened on: "
            f"{os.strerror(exc.errno or 0).lower()}; choose another with {argument}="
        ) from exc


def _serve_run_options() -> dict[str, Any]:
    context = click.get_current_context(silent=True)
    return context.params if context else {}


def _end(*_: object) -> None:
    """Let the requests finish, then make `serve run` shut down, which would not wait for them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, signal.default_int_handler
        )  # whoever asks twice does not want to wait
    for name in serve.status().applications:
        serve.delete(name)
    raise KeyboardInterrupt


@contextmanager
def _plain_errors() -> Iterator[None]:
    """On a command line, end in one sentence rather than in a traceback."""
    try:
        yield
    except (ConfigError, ModelError, OSError) as exc:
        if click.get_current_context(silent=True) is None:
            raise
        # The model's own errors name options as `labelmill label` has them.
        raise click.ClickException(str(exc).replace("--weights ", "weights=")) from exc
