"""The boto3 client, configured as every AWS tool is, and the retries of its requests."""

import random
import re
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

from model_repo.inception_v3.s3.faults import BotoError, fault_of, unreachable
from model_repo.inception_v3.s3.objects import S3Error

T = TypeVar("T")

_INVALID_ENDPOINT = re.compile(r"Invalid endpoint: (?!\w+:/)(\S+)")  # as botocore says it

# How long a request that fails for a passing reason is repeated. Short of this, a restart of the
# server would end a job; far beyond it, a job would hang on a server that is gone.
PATIENCE_S = 45.0
_LONGEST_PAUSE_S = 5.0
_ATTEMPTS = 3  # each time: boto3's waits double without bound, so `retry` repeats it instead


class S3Connection:
    """A boto3 client for the environment as it is now; safe in threads, but not across a fork.

    Attributes:
        session: botocore's, which renews the credentials.
        boto3: the client.
        region: `us-east-1` unless the configuration names one.
        endpoint: the server's URL.
        is_signed: whether there are credentials.

    Raises:
        S3Error: the endpoint cannot be reached, or the AWS configuration makes no sense.
    """

    def __init__(self) -> None:
        self.session: Any = botocore.session.get_session()
        # a listing has a timestamp for each key; parsing them would take most of the time
        self.session.get_component("response_parser_factory").set_parser_defaults(
            timestamp_parser=lambda value: value
        )
        try:
            session = boto3.Session(botocore_session=self.session)
            self.is_signed: bool = session.get_credentials() is not None
            self.region: str = session.region_name or "us-east-1"
            config = Config(
                retries={"mode": "legacy", "total_max_attempts": _ATTEMPTS},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=64,
                connect_timeout=10,
                read_timeout=60,
                signature_version=None if self.is_signed else UNSIGNED,
            )
            self.boto3: Any = session.client("s3", region_name=self.region, config=config)
        except (BotoCoreError, ValueError, OSError) as exc:
            if without_scheme := _INVALID_ENDPOINT.fullmatch(str(exc)):
                raise S3Error(_incomplete(without_scheme[1])) from exc
            raise S3Error(f"the AWS configuration cannot be used: {exc}") from exc
        self.endpoint: str = self.boto3.meta.endpoint_url
        _check_reachable(self.endpoint)


def retry(request: Callable[[], T], patience_s: float | None = None) -> T:
    """Send a boto3 request until it succeeds, fails for a lasting reason, or patience ends.

    The client's own retries are few, and do not cover a body that breaks off. The request must be
    safe to send twice. Patience is `PATIENCE_S` unless given.
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


def _incomplete(endpoint: str) -> str:
    return (
        f"the S3 endpoint {endpoint!r} lacks http:// or https://; write AWS_ENDPOINT_URL (or "
        f"endpoint_url in ~/.aws/config) as http://{endpoint} or https://{endpoint}"
    )


def _check_reachable(endpoint: str) -> None:
    """Find a wrong endpoint in seconds; the client's own retries would take minutes."""
    if get_environ_proxies(endpoint):
        return
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for pause_s in (0, 0.5, 1.5):
        time.sleep(pause_s)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=5).close()
        except OSError as exc:
            error = exc
        else:
            return
    raise S3Error(unreachable(endpoint)) from error
