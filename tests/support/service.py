"""Running the service as a user does, `serve run serving.app:build_app`, in its own processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from jobs.demo.seaweedfs import free_ports

ROOT = Path(__file__).parents[2]

# Environment for a service whose model is to be slow or to hang; `faults/sitecustomize.py` has how.
FAULTS = {"PYTHONPATH": f"{Path(__file__).parent / 'faults'}{os.pathsep}{ROOT}"}
SLOW_FORWARD_S = 0.03  # for one image, by `slow_service`
PATIENCE_S = 5  # of `hasty` with a request
TOKENS = ("first-token", "second-token", "token-of-the-environment")  # that `guarded` takes
_START_S = 120


@dataclass(frozen=True)
class RunningService:
    """A service that answers.

    Attributes:
        url: of HTTP, without a slash at the end.
        grpc: host and port of gRPC.
        process: `serve run`, the leader of a session of its own.
        log: what it and its replicas have printed.
        ray_folder: where its Ray keeps its session; no other Ray looks there.
    """

    url: str
    grpc: str
    process: subprocess.Popen[bytes]
    log: Path
    ray_folder: Path

    def post(self, image: bytes, **query: object) -> httpx.Response:
        """Ask for the labels of one image."""
        return httpx.post(
            f"{self.url}/v1/classify", content=image, params=query, timeout=60, trust_env=False
        )


@contextmanager
def run_service(
    folder: Path, *arguments: str, environment: Mapping[str, str] = {}, wait: bool = True
) -> Iterator[RunningService]:
    """Run the service on free ports until the context ends.

    Args:
        folder: where to keep the log.
        arguments: of `build_app`, `key=value`; untrained weights unless they say otherwise.
        environment: more variables for it.
        wait: until it is ready.
    """
    port, grpc_port = free_ports(2)
    defaults = [f"port={port}", f"grpc_port={grpc_port}"]
    if not any(each.startswith(("weights=", "model_repository=")) for each in arguments):
        defaults.append("weights=untrained")
    log = folder / "service.log"
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "serving.app:build_app"]
    with ray_folder() as session, log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *defaults, *arguments],
            cwd=ROOT,
            env=clean_environment() | {"RAY_TMPDIR": str(session)} | dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        service = RunningService(
            f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", process, log, session / "ray"
        )
        try:
            if wait:
                wait_until_ready(service)
            yield service
        finally:
            end(process)


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A short folder for RAY_TMPDIR: a Ray that runs here already is then not taken for ours."""
    folder = tempfile.mkdtemp(prefix="lm-", dir="/tmp")  # sockets in it have at most 107 letters
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(service: RunningService) -> None:
    """Wait until the service says that it is ready, or has ended."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert service.process.poll() is None, service.log.read_text()
        try:
            if httpx.get(f"{service.url}/v2/health/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready after {_START_S} s:\n{service.log.read_text()}")


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until `holds` does; fail if that takes longer."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    """End `serve run` and whatever it has started, at once."""
    # Asked twice, it does not wait for requests.
    for _ in range(2):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def clean_environment() -> dict[str, str]:
    """Return this process's environment, without what would make another service of it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "LABELMILL_"))
    }
    # Without it, Ray leaves a token in the home folder that changes what comes after.
    return kept | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}


def haproxy_environment() -> dict[str, str]:
    """Return what has Serve's HAProxy in front of the replicas, on ports of its own."""
    names = ("HAPROXY_METRICS", "HAPROXY_STATS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
    ports = zip(names, free_ports(len(names)), strict=True)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # or its end takes half a minute
    } | {f"RAY_SERVE_{name}_PORT": str(port) for name, port in ports}
