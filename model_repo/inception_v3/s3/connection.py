"""The boto3 client: endpoint, region and credentials found as every AWS tool finds them."""

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies

from model_repo.inception_v3.s3.faults import unreachable
from model_repo.inception_v3.s3.objects import S3Error

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
            self.boto3: Any = session.client("s3", region_name=self.region, config=self._config())
        except (BotoCoreError, ValueError, OSError) as exc:
            raise S3Error(f"the AWS configuration cannot be used: {exc}") from exc
        self.endpoint: str = self.boto3.meta.endpoint_url
        _check_reachable(self.endpoint)

    def _config(self) -> Config:
        return Config(
            retries={"mode": "legacy", "total_max_attempts": _ATTEMPTS},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=64,
            connect_timeout=10,
            read_timeout=60,
            signature_version=None if self.is_signed else UNSIGNED,
        )


def _check_reachable(endpoint: str) -> None:
    """Find a wrong endpoint in seconds; the client's own retries would take minutes."""
    parts = urlsplit(endpoint)
    if get_environ_proxies(endpoint):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for pause_s in (0.5, 1.5, None):
        try:
            socket.create_connection((parts.hostname or "", port), timeout=5).close()
        except OSError as exc:
            if pause_s is None:
                raise S3Error(unreachable(endpoint)) from exc
            time.sleep(pause_s)
        else:
            return
