"""A Ray that many jobs join, which start faster for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.demo.seaweedfs import free_ports
from tests.support.processes import started_with
from tests.support.service import ray_folder

_STARTS = 4  # of Ray's, which gives up after half a minute, even on a machine that is busy
_PORTS = ("port", "dashboard-port", "ray-client-server-port")  # of each Ray its own


@contextmanager
def ray_head(environment: dict[str, str]) -> Iterator[str]:
    """Run a Ray of two CPUs until the context ends; yield its address."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    start += ["--num-cpus=2", "--include-dashboard=false"]
    with ray_folder() as session:
        environment = environment | {"RAY_TMPDIR": str(session), "RAY_worker_niceness": "0"}
        try:
            for _ in range(_STARTS):
                ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
                command = [*start, *(f"--{name}={port}" for name, port in ports.items())]
                done = subprocess.run(command, env=environment, capture_output=True, check=False)
                if done.returncode == 0:
                    break
                kill_all(session)
            else:
                raise AssertionError(done.stderr.decode())
            yield f"127.0.0.1:{ports['port']}"
        finally:
            kill_all(session)


def kill_all(session: Path) -> None:
    """End every process of a Ray."""
    for pid in started_with(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
