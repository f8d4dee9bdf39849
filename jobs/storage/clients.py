"""One resolver of S3 endpoint, region and credentials, and the two clients that are made from it.

botocore resolves (environment, profiles, roles); boto3 lists and writes, obstore reads. Clients are
made once per process and environment, and are shared by its threads.
"""

import base64
import hashlib
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import get_environ_proxies
from obstore.store import S3Store

from jobs.errors import StorageError
from jobs.storage.faults import BotoError, fault_of, unreachable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")

# How long a request that fails for a passing reason is repeated. Short of this, a restart of the
# server would end a job; far beyond it, a job would hang on a server that is gone.
PATIENCE_S = 45.0
_BOTO3_ATTEMPTS = 3  # each time: its waits double without bound, so `persist` repeats it instead
_LONGEST_PAUSE_S = 5.0
_AWS_HOST = re.compile(r"s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")
_CREDENTIALS_TTL = timedelta(minutes=5)  # botocore renews 10 minutes before they expire
# its waits are drawn between the first and `base` times the last: 14 of them take 15 to 60 s
_OBSTORE_RETRIES: "RetryConfig" = {
    "max_retries": 14,
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=6),
        "base": 5,
    },
    "retry_timeout": timedelta(seconds=60),
}
_store_lock = threading.Lock()
_creation_lock = threading.Lock()


class _Keys(TypedDict):
    access_key_id: str
    secret_access_key: str
    token: str | None
    expires_at: datetime


class S3Clients:
    """A boto3 client, and an obstore store per bucket, that agree about everything.

    Attributes:
        last_read: bucket → a key that could be read.
        opaque_etags: buckets whose etags do not tell what is in an object (SSE-KMS, SSE-C).
    """

    def __init__(self) -> None:
        core = botocore.session.get_session()
        # a listing carries a timestamp per key; parsing it would take most of the time
        core.get_component("response_parser_factory").set_parser_defaults(
            timestamp_parser=lambda value: value
        )
        session = boto3.Session(botocore_session=core)
        self._credentials: Any = session.get_credentials()
        self._ca_bundle: str | None = core.get_config_variable("ca_bundle")
        self.region: str = session.region_name or "us-east-1"
        self.boto3: Any = session.client("s3", region_name=self.region, config=self._config())
        self.boto3.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
        self.endpoint: str = self.boto3.meta.endpoint_url
        self.is_aws = _AWS_HOST.fullmatch(urlsplit(self.endpoint).hostname or "") is not None
        self.last_read: dict[str, str] = {}
        self.opaque_etags: set[str] = set()
        self._stores: dict[str, S3Store] = {}
        _check_reachable(self.endpoint)

    @property
    def is_signed(self) -> bool:
        """Whether there are credentials at all."""
        return self._credentials is not None

    def store(self, bucket: str) -> S3Store:
        """Return the obstore store of a bucket."""
        with _store_lock:
            if bucket not in self._stores:
                self._stores[bucket] = self._open_store(bucket)
            return self._stores[bucket]

    def forget_store(self, bucket: str) -> None:
        """Let the bucket's next reader ask for the credentials anew."""
        with _store_lock:
            self._stores.pop(bucket, None)

    def _config(self) -> Config:
        return Config(
            retries={"mode": "legacy", "total_max_attempts": _BOTO3_ATTEMPTS},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=64,
            connect_timeout=10,
            read_timeout=60,
            signature_version=None if self._credentials else UNSIGNED,
        )

    def _open_store(self, bucket: str) -> S3Store:
        place: dict[str, Any] = {"endpoint": self.endpoint, "region": self.region}
        if self.is_aws:
            place = {"region": self._bucket_region(bucket)}
        options: ClientConfig = {
            "allow_http": self.endpoint.startswith("http://"),
            "connect_timeout": "10s",
            "read_timeout": "30s",
            "timeout": "10m",
        }
        if self._ca_bundle:
            options["root_certificate"] = Path(self._ca_bundle).read_bytes()
        signing: dict[str, Any] = {"skip_signature": True}
        if self.is_signed:
            signing = {"credential_provider": self._keys}
        return S3Store(
            bucket,
            virtual_hosted_style_request=self.is_aws and "." not in bucket,
            client_options=options,
            retry_config=_OBSTORE_RETRIES,
            **place,
            **signing,
        )

    def _bucket_region(self, bucket: str) -> str:
        try:
            headers = self.boto3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as exc:
            headers = exc.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        except BotoCoreError:
            headers = {}
        return str(headers.get("x-amz-bucket-region", self.region))

    def _keys(self) -> _Keys:
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_TTL,
        }


def s3_clients() -> S3Clients:
    """Return this process's clients for the environment as it is now.

    Raises:
        StorageError: the endpoint cannot be reached, or the AWS configuration makes no sense.
    """
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _creation_lock:
        return _create_clients(os.getpid(), settings)


@lru_cache(maxsize=4)
def _create_clients(_pid: int, _settings: tuple[tuple[str, str], ...]) -> S3Clients:
    try:
        return S3Clients()
    except (BotoCoreError, ValueError) as exc:
        raise StorageError(f"the AWS configuration cannot be used: {exc}") from exc


def persist(request: Callable[[], T], patience_s: float | None = None) -> T:
    """Send a boto3 request until it succeeds, fails for a lasting reason, or patience ends.

    The client's own retries are few, and do not cover a body that breaks off. A request must do no
    harm when it is sent twice.

    Args:
        request: sends it, and reads what is to be read of the answer.
        patience_s: instead of the usual one.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    pause_s = 0.2
    while True:
        try:
            return request()
        except BotoError as exc:
            if not fault_of(exc).is_passing or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(pause_s / 2, pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _check_reachable(endpoint: str) -> None:
    """Find a wrong endpoint in seconds; the clients' own retries would take minutes."""
    parts = urlsplit(endpoint)
    if get_environ_proxies(endpoint):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for pause_s in (0.5, 1.5, None):
        try:
            socket.create_connection((parts.hostname or "", port), timeout=5).close()
        except OSError as exc:
            if pause_s is None:
                raise StorageError(unreachable(endpoint)) from exc
            time.sleep(pause_s)
        else:
            return


def _add_content_md5(params: dict[str, Any], **_: object) -> None:
    """Older servers (Ceph 16) want this header on DeleteObjects; boto3 no longer sends it."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
