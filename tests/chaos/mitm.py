"""mitmdump between a job and its storage, with the faults of `mitm_faults.py`."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.demo.seaweedfs import free_ports

ADDON = Path(__file__).with_name("mitm_faults.py")
START_LIMIT_S = 60.0


def find_mitmdump() -> str:
    """Find the program, which `make` puts into an environment of its own: its pins are not ours."""
    own = Path(sys.prefix) / "mitmproxy" / "bin" / "mitmdump"
    found = shutil.which(own) or shutil.which("mitmdump")
    assert found, f"no mitmdump at {str(own)!r} or on PATH; `make test` puts it there"
    return found


@contextmanager
def faulty_storage(
    upstream: str, folder: Path, *rules: dict[str, Any], seed: int = 7
) -> Iterator[str]:
    """Run a reverse proxy that follows the rules; yields its url."""
    (port,) = free_ports(1)
    options = {
        "mode": f"reverse:{upstream}",
        "listen_host": "127.0.0.1",
        "listen_port": port,
        "keep_host_header": "true",  # signatures cover it
        "confdir": folder,
        "connection_strategy": "lazy",
    }
    command = [find_mitmdump(), "--quiet", "--scripts", str(ADDON)]
    command += [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    faults = json.dumps({"seed": seed, "rules": rules})
    log = folder / "mitmdump.log"
    with log.open("wb") as file:
        proxy = subprocess.Popen(
            command,
            env={**os.environ, "LABELMILL_FAULTS": faults},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        _wait_until_ready(proxy, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        proxy.wait()


def _wait_until_ready(proxy: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert proxy.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
