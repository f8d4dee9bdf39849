"""The few objects of a model repository on S3, read with boto3 alone.

Credentials, endpoint and region are found as every AWS tool finds them, `AWS_ENDPOINT_URL`
included. Local paths never come here.
"""

import io
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from model_repo.inception_v3 import RepositoryError
from model_repo.inception_v3.repository.locate import split_s3
from serving.storage_faults import BotoError, NoConnection, repository_error, status_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ATTEMPTS = 5  # of each request; and so often a body that breaks off is asked for
_PAUSE_S = 0.5
_BUFFER_BYTES = 1 << 20
_UNEXPLAINED = (400, 401, 403)  # a HEAD so refused: its answer has no body to say why


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object: `s3://bucket/key`, its bytes, and an etag that changes when they do."""

    uri: str
    size: int
    etag: str


class S3Store:
    """Lists and reads S3, as `find_model` wants it; safe in threads, made anew in each process.

    What fails after every retry is a `RepositoryError` that says what to do.
    """

    def list(self, uri: str) -> Iterator[StoredObject]:
        """List the object that `uri` names, or else everything under it as a folder.

        Raises:
            RepositoryError: that failed; where nothing is, nothing is listed.
        """
        bucket, key = split_s3(uri)
        try:
            if key and not key.endswith("/"):
                if found := self._look_if_allowed(uri):
                    yield found
                    return
                key += "/"
            lister = self._client.get_paginator("list_objects_v2")
            for page in lister.paginate(Bucket=bucket, Prefix=key):
                yield from _objects(bucket, page)
        except BotoError as exc:
            raise repository_error("list", uri, exc, self._client) from exc

    def head(self, uri: str) -> StoredObject | None:
        """Look at one object; None if it is not there.

        Raises:
            RepositoryError: that could not be found out.
        """
        try:
            return self._look(uri)
        except BotoError as exc:
            reason = self._refusal(uri) if status_of(exc) in _UNEXPLAINED else None
            raise repository_error("read", uri, reason or exc, self._client) from exc

    def open(self, uri: str) -> io.BufferedReader:
        """Open an object for reading from its beginning to its end.

        Raises:
            RepositoryError: it is not there or may not be read; also from reads, where it cannot
                be read to its end, or has changed meanwhile.
        """
        found = self.head(uri)
        if found is None:
            raise RepositoryError(f"{uri} does not exist")
        return io.BufferedReader(_Body(self._client, found), _BUFFER_BYTES)

    @cached_property
    def _client(self) -> Any:
        try:
            session = boto3.Session()
            config = Config(
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                connect_timeout=5,
                signature_version=None if session.get_credentials() else UNSIGNED,
            )
            region = session.region_name or "us-east-1"
            return session.client("s3", region_name=region, config=config)
        except (BotoCoreError, ValueError) as exc:
            raise RepositoryError(f"the AWS configuration cannot be used: {exc}") from exc

    def _look(self, uri: str) -> StoredObject | None:
        bucket, key = split_s3(uri)
        if not key:
            return None
        try:
            found = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as exc:
            if status_of(exc) == 404:
                return None
            raise
        return StoredObject(uri, found["ContentLength"], _bare_etag(found))

    def _look_if_allowed(self, uri: str) -> StoredObject | None:
        """A HEAD needs s3:GetObject; who may only list can still list, or is told why not."""
        try:
            return self._look(uri)
        except ClientError as exc:
            if status_of(exc) in _UNEXPLAINED:
                return None
            raise

    def _refusal(self, uri: str) -> BaseException | None:
        bucket, key = split_s3(uri)
        try:
            self._client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except BotoError as exc:
            return exc
        return None


class _Body(io.RawIOBase):
    """Reads one version of an object, and goes on where a connection broke."""

    def __init__(self, client: Any, stored: StoredObject) -> None:
        super().__init__()
        self._client = client
        self._object = stored
        self._position = 0
        self._failures = 0
        self._stream: Any = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._hang_up()
        super().close()

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        while True:
            try:
                data = self._read(len(view))
            except FlexibleChecksumError as exc:
                raise RepositoryError(
                    f"the bytes of {self._object.uri} do not match its checksum; store it anew"
                ) from exc
            except BotoError as exc:
                self._hang_up()
                self._pause_after(exc)
            else:
                view[: len(data)] = data
                self._position += len(data)
                return len(data)

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            if 0 < self._position == self._object.size:
                return b""  # only the connection's end was missing
            self._ask()
        data = bytes(self._stream.read(size))
        if not data and self._position < self._object.size:
            raise OSError("the answer ended too early")
        return data

    def _ask(self) -> None:
        bucket, key = split_s3(self._object.uri)
        wanted = {"Range": f"bytes={self._position}-"} if self._position else {}
        answer = self._client.get_object(Bucket=bucket, Key=key, **wanted)
        self._stream = answer["Body"]
        if _bare_etag(answer) not in ("", self._object.etag):
            raise RepositoryError(f"{self._object.uri} has changed while it was read; try again")
        missing = self._object.size - self._position
        if answer["ContentLength"] != missing:
            raise OSError(f"{missing:,} bytes expected, {answer['ContentLength']:,} offered")

    def _pause_after(self, exc: BaseException) -> None:
        """Wait before the next attempt.

        Raises:
            RepositoryError: there is to be none: boto3 has made them, or they were enough.
        """
        self._failures += 1
        if self._failures == _ATTEMPTS or isinstance(exc, (ClientError, *NoConnection)):
            raise repository_error("read", self._object.uri, exc, self._client) from exc
        time.sleep(random.uniform(0.5, 1) * _PAUSE_S * 2 ** (self._failures - 1))

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _objects(bucket: str, page: dict[str, Any]) -> Iterator[StoredObject]:
    """Read a page; boto3 takes an empty body, or any other XML, for an empty page."""
    entries = page.get("Contents", ())
    is_whole = "IsTruncated" in page and len(entries) >= page.get("KeyCount", 0)
    if not is_whole or (page["IsTruncated"] and not page.get("NextContinuationToken")):
        raise OSError(f"a listing of {len(entries)} keys is not whole")
    for entry in entries:
        if entry["Size"] or not entry["Key"].endswith("/"):  # else a folder placeholder
            yield StoredObject(f"s3://{bucket}/{entry['Key']}", entry["Size"], _bare_etag(entry))


def _bare_etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')
