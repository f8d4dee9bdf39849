"""A Ray cluster of its own and Serve on it, driven by config files as operators do it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from jobs.demo.seaweedfs import free_ports
from tests.support.processes import of_session
from tests.support.service import (
    ROOT,
    RunningService,
    clean_environment,
    ray_folder,
    wait_until,
    wait_until_ready,
)


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        service: what answers once something was deployed.
        dashboard: its address.
        folder: for config files.
    """

    service: RunningService
    dashboard: str
    folder: Path
    environment: dict[str, str]

    def deploy(self, args: Mapping[str, Any], **options: Any) -> None:
        """Deploy the service with arguments of `build_app` and options of its deployment."""
        port = int(self.service.url.rpartition(":")[2])
        grpc_port = int(self.service.grpc.rpartition(":")[2])
        config = {
            "http_options": {"host": "127.0.0.1", "port": port},
            "grpc_options": {
                "port": grpc_port,
                "grpc_servicer_functions": ["serving.grpc.servicer:add_inference_service"],
            },
            "applications": [
                {
                    "name": "labelmill",
                    "route_prefix": "/",
                    "import_path": "serving.app:build_app",
                    "args": {"weights": "untrained", **args},
                    "deployments": [{"name": "labelmill"} | options],
                }
            ],
        }
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        self._run("ray.serve.scripts", "deploy", "--address", self.dashboard, str(path))

    def status(self) -> dict[str, Any]:
        """Return what Serve says of the application."""
        answer = httpx.get(f"{self.dashboard}/api/serve/applications/", trust_env=False)
        return answer.json()["applications"].get("labelmill", {})

    def wait_until_running(self) -> None:
        """Wait until what was deployed last runs."""
        time.sleep(1)  # Serve still says so of what ran before
        wait_until(lambda: self.status().get("status") == "RUNNING", 120)
        wait_until_ready(self.service)

    def _run(self, module: str, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def run_cluster(folder: Path) -> Iterator[Cluster]:
    """Run `ray start --head` on free ports until the context ends."""
    port, grpc_port, gcs, dashboard = free_ports(4)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    log = folder / "cluster.log"
    with ray_folder() as session, log.open("wb") as output:
        environment = clean_environment() | {
            "RAY_TMPDIR": str(session),
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.http.proxy:build_middlewares",
            "RAY_worker_niceness": "0",
            "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
            "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
        }
        head = subprocess.Popen(
            [*command, f"--port={gcs}", f"--dashboard-port={dashboard}"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        service = RunningService(
            f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", head, log, session / "ray"
        )
        cluster = Cluster(service, f"http://127.0.0.1:{dashboard}", folder, environment)
        try:
            wait_until(lambda: _answers(f"{cluster.dashboard}/api/version"), 60)
            yield cluster
        finally:
            for pid in of_session(session):  # whatever they are at
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            head.kill()
            head.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
