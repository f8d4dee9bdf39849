"""The S3 clients of a process, shared by its threads: boto3 lists and writes, obstore reads.

Both take endpoint, region and credentials from one connection.
"""

import base64
import hashlib
import os
import re
import threading
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import S3Store

from jobs.storage.faults import storage_errors
from model_repo.inception_v3.s3.connection import S3Connection

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_AWS_HOST = re.compile(r"s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")
_CREDENTIALS_TTL = timedelta(minutes=5)  # botocore renews them 10 minutes before they expire
# each wait is drawn between the first one and `base` times the last: 14 take 15 to 60 s
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


class S3Clients(S3Connection):
    """A boto3 client, and an obstore store per bucket, with the same configuration.

    Attributes:
        last_read: bucket → a key that was read without trouble.
        opaque_etags: buckets whose etags are not an object's MD5 (SSE-KMS, SSE-C).

    Raises:
        S3Error: the endpoint cannot be reached, or the AWS configuration is invalid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.boto3.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
        self.is_aws = _AWS_HOST.fullmatch(urlsplit(self.endpoint).hostname or "") is not None
        self.last_read: dict[str, str] = {}
        self.opaque_etags: set[str] = set()
        self._stores: dict[str, S3Store] = {}

    def store(self, bucket: str) -> S3Store:
        """Return the obstore store of a bucket."""
        with _store_lock:
            if bucket not in self._stores:
                self._stores[bucket] = self._open_store(bucket)
            return self._stores[bucket]

    def forget_store(self, bucket: str) -> None:
        """Make the bucket's next reader ask for the credentials again."""
        with _store_lock:
            self._stores.pop(bucket, None)

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
        if ca_bundle := self.session.get_config_variable("ca_bundle"):
            options["root_certificate"] = Path(ca_bundle).read_bytes()
        signing: dict[str, Any] = {"skip_signature": True}
        if self.is_signed:
            provider = Boto3CredentialProvider(self.session, ttl=_CREDENTIALS_TTL)
            signing = {"credential_provider": provider}
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
            answer = self.boto3.head_bucket(Bucket=bucket)
        except (ClientError, BotoCoreError) as exc:  # a refusal names the region, too
            answer = getattr(exc, "response", {})
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region", self.region))


def s3_clients() -> S3Clients:
    """Return this process's clients for its current environment.

    Raises:
        StorageError: the endpoint cannot be reached, or the AWS configuration is invalid.
    """
    settings = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _creation_lock, storage_errors():
        return _create_clients(os.getpid(), settings)


@lru_cache(maxsize=4)
def _create_clients(_pid: int, _settings: tuple[tuple[str, str], ...]) -> S3Clients:
    return S3Clients()


def _add_content_md5(params: dict[str, Any], **_: object) -> None:
    """Older servers (Ceph 16) need this header on DeleteObjects; boto3 no longer sends it."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
