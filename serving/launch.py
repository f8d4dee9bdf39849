"""Start Ray and Serve for `serve run` where no cluster is named, and end them in order."""

import os
import signal
import socket
import threading

import click
import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

from serving.config import ConfigError, ServingConfig, UserConfig
from serving.http import proxy

SERVICER = "serving.grpc.servicer:add_inference_service"


def start_serve(config: ServingConfig) -> None:
    """Start what `serve run` would start, but with gRPC, and with an orderly end on SIGTERM.

    Raises:
        ConfigError: a port is taken, or `serve run` was given a runtime environment.
    """
    context = click.get_current_context(silent=True)
    options = context.params if context else {}
    if options.get("runtime_env") or options.get("runtime_env_json") or options.get("working_dir"):
        raise ConfigError("a runtime_env needs a cluster that Serve runs on: use serve deploy")
    for name, value in _environment(config).items():
        os.environ.setdefault(name, value)
    # As for jobs: its own Ray, unless a cluster is named.
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
            request_timeout_s=config.request_timeout_s + 1,  # for a replica that does not answer
        ),
    )
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)


def _environment(config: ServingConfig) -> dict[str, str]:
    """Return environment variables for the processes that Ray starts here."""
    return {
        # At Ray's default of 15 a replica gets hardly any CPU beside other processes.
        "RAY_worker_niceness": "0",
        # By default Ray starts workers first, and waits forever if one dies while starting.
        "RAY_prestart_worker_first_driver": "0",
        # By default the controller checks its deployments, and replicas add up their metrics, ten
        # times a second. That takes as much CPU time as a replica's requests.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        # Ray's metrics about itself.
        "RAY_event_stats": "0",
        "METRICS_RECORD_INTERVAL_S": "60",
        # Messages that would be refused anyway are not read whole.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(config.max_body_bytes),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": proxy.CALLBACK,
        proxy.VARIABLE: config.model_dump_json(include=set(UserConfig.model_fields)),
    }


def _check_port(argument: str, host: str, port: int) -> None:
    """Check that the port is free: Serve would retry forever."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {argument} {port} of host {host or '*'}: "
            f"{os.strerror(exc.errno or 0).lower()}; choose another with {argument}="
        ) from exc


def _end(*_: object) -> None:
    """Let requests finish, then make `serve run` shut down; by itself it would not wait."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)  # a second signal ends it at once
    for name in serve.status().applications:
        serve.delete(name)
    raise KeyboardInterrupt
