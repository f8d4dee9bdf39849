"""Listing and reading S3 with boto3, whole or not at all."""

import io
import random
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import FlexibleChecksumError

from model_repo.inception_v3.s3.connection import S3Connection
from model_repo.inception_v3.s3.faults import BotoError, BrokenAnswerError, failure, fault_of
from model_repo.inception_v3.s3.objects import S3Error, StoredObject, strip_quotes
from model_repo.inception_v3.s3.retry import retry
from model_repo.inception_v3.s3.uri import split_s3

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ATTEMPTS = 5  # at the body of one object
_PAUSE_S = 0.5
_BUFFER_BYTES = 1 << 20
_UNEXPLAINED = (400, 401, 403)  # a HEAD answer has no body to say why


class S3Reader:
    """Lists and reads objects; safe in threads, but not across a fork."""

    def __init__(self, connect: Callable[[], S3Connection] | None = None) -> None:
        """Prepare to read; nothing is connected yet.

        Args:
            connect: gives the connection for each call; None for one of the reader's own.
        """
        self._connect = connect or cache(S3Connection)

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """List the object that `uri` names, or else everything under it as a folder.

        Objects come in the server's order; nothing is listed if nothing is there.

        Args:
            uri: an object or a folder, with or without its slash.
            starts_with: list only what begins so directly under the folder.

        Raises:
            S3Error: the listing failed after every retry.
        """
        bucket, key = split_s3(uri)
        if key and not key.endswith("/"):
            if not starts_with and (found := self._head_if_allowed(uri)):
                yield found
                return
            key += "/"
        connection = self._connect()
        try:
            for page in _pages(connection.boto3, bucket, key + starts_with):
                for entry in page.get("Contents", ()):
                    if entry["Size"] or not entry["Key"].endswith("/"):  # else a folder placeholder
                        name = f"s3://{bucket}/{entry['Key']}"
                        yield StoredObject(name, entry["Size"], strip_quotes(entry.get("ETag")))
        except BotoError as exc:
            raise _failure("list", uri, exc, connection) from exc

    def head(self, uri: str) -> StoredObject | None:
        """Ask for one object's size and etag; None if it does not exist.

        Raises:
            S3Error: that failed after every retry.
        """
        bucket, key = split_s3(uri)
        if not key:
            return None
        connection = self._connect()
        try:
            found = retry(partial(connection.boto3.head_object, Bucket=bucket, Key=key))
        except BotoError as exc:
            status = fault_of(exc).status
            if status == 404:
                return None
            reason = status in _UNEXPLAINED and _refusal(connection.boto3, bucket, key)
            raise _failure("read", uri, reason or exc, connection) from exc
        return StoredObject(uri, found["ContentLength"], strip_quotes(found.get("ETag")))

    def open(self, uri: str) -> io.BufferedReader:
        """Open an object for reading from beginning to end.

        Raises:
            S3Error: it does not exist or may not be read; also from reads, when it cannot be read
                to the end or changes meanwhile.
        """
        found = self.head(uri)
        if found is None:
            raise S3Error(f"{uri} does not exist")
        return io.BufferedReader(_Body(self._connect(), found), _BUFFER_BYTES)

    def _head_if_allowed(self, uri: str) -> StoredObject | None:
        """HEAD needs s3:GetObject; without it, listing may still be allowed."""
        try:
            return self.head(uri)
        except S3Error as exc:
            if exc.kind == "denied":
                return None
            raise


class _Body(io.RawIOBase):
    """Reads one version of an object, and continues where a connection breaks."""

    def __init__(self, connection: S3Connection, stored: StoredObject) -> None:
        super().__init__()
        self._connection = connection
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
                raise S3Error(
                    f"the bytes of {self._object.uri} do not match its checksum; store it again"
                ) from exc
            except (*BotoError, OSError) as exc:
                self._hang_up()
                self._pause_after(exc)
            else:
                view[: len(data)] = data
                self._position += len(data)
                return len(data)

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            if 0 < self._position == self._object.size:
                return b""  # only the end of the connection was missing
            self._ask()
        data = bytes(self._stream.read(size))
        if not data and self._position < self._object.size:
            raise BrokenAnswerError("the answer ended too early")
        return data

    def _ask(self) -> None:
        bucket, key = split_s3(self._object.uri)
        wanted = {"ChecksumMode": "ENABLED"}  # boto3 compares what the server sends
        if self._position:
            wanted = {"Range": f"bytes={self._position}-"}
        answer = self._connection.boto3.get_object(Bucket=bucket, Key=key, **wanted)
        self._stream = answer["Body"]
        if strip_quotes(answer.get("ETag")) not in ("", self._object.etag):
            raise S3Error(f"{self._object.uri} has changed while it was read; try again")
        missing = self._object.size - self._position
        if answer["ContentLength"] != missing:
            offered = answer["ContentLength"]
            raise BrokenAnswerError(f"{missing:,} bytes expected, {offered:,} offered")

    def _pause_after(self, exc: BaseException) -> None:
        """Wait before the next attempt.

        Raises:
            S3Error: there is no next attempt.
        """
        self._failures += 1
        if self._failures == _ATTEMPTS or not fault_of(exc).is_passing:
            raise _failure("read", self._object.uri, exc, self._connection) from exc
        time.sleep(random.uniform(0.5, 1) * _PAUSE_S * 2 ** (self._failures - 1))

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _pages(client: Any, bucket: str, prefix: str) -> Iterator[Any]:
    place = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retry(partial(_page, client, place))
        yield page
        if not page["IsTruncated"]:
            return
        place["ContinuationToken"] = page["NextContinuationToken"]


def _page(client: Any, place: dict[str, str]) -> Any:
    """Ask for one page; boto3 takes an empty body, or any other XML, for an empty page."""
    page = client.list_objects_v2(**place)
    count = len(page.get("Contents", ()))
    is_whole = "IsTruncated" in page and count >= page.get("KeyCount", 0)
    if not is_whole or (page["IsTruncated"] and "NextContinuationToken" not in page):
        raise BrokenAnswerError(f"a listing of {place['Bucket']} with {count} keys is not whole")
    return page


def _refusal(client: Any, bucket: str, key: str) -> BaseException | None:
    """Find out why a HEAD request was refused."""
    try:
        client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
    except BotoError as exc:
        return exc
    return None


def _failure(action: str, uri: str, exc: BaseException, connection: S3Connection) -> S3Error:
    return failure(action, uri, fault_of(exc), connection.endpoint, connection.is_signed)
