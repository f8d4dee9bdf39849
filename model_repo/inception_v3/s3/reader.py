"""Listing and reading S3 with boto3, whole or not at all."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, partial
from typing import Any

from botocore.exceptions import FlexibleChecksumError

from model_repo.inception_v3.s3.connection import S3Connection, retry
from model_repo.inception_v3.s3.faults import BotoError, BrokenAnswerError, failure, fault_of
from model_repo.inception_v3.s3.objects import S3Error, StoredObject, strip_quotes
from model_repo.inception_v3.s3.uri import split_s3

_ATTEMPTS = 5  # at the body of one object
_PAUSE_S = 0.5
_PIECE_BYTES = 1 << 20
_UNEXPLAINED = (400, 401, 403)  # a HEAD answer has no body to say why


class S3Reader:
    """Lists and reads objects; safe in threads, but not across a fork."""

    def __init__(self, connect: Callable[[], S3Connection] | None = None) -> None:
        """Prepare to read; each call gets its connection from `connect`, or shares a new one."""
        self._connect = connect or cache(S3Connection)

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """List the object that `uri` names, or else everything under it as a folder.

        Objects come in the server's order; nothing is listed if nothing is there. `starts_with`
        narrows it to what begins so directly under the folder.

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
            for entry in _entries(connection.boto3, bucket, key + starts_with):
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

    def stream(self, uri: str) -> Iterator[bytes]:
        """Read an object from beginning to end, piece by piece.

        Raises:
            S3Error: it does not exist or may not be read; also from the iterator, when it cannot be
                read to the end or changes meanwhile.
        """
        found = self.head(uri)
        if found is None:
            raise S3Error(f"{uri} does not exist")
        return _pieces(self._connect(), found)

    def _head_if_allowed(self, uri: str) -> StoredObject | None:
        """HEAD needs s3:GetObject; without it, listing may still be allowed."""
        try:
            return self.head(uri)
        except S3Error as exc:
            if exc.kind == "denied":
                return None
            raise


def _pieces(connection: S3Connection, stored: StoredObject) -> Iterator[bytes]:
    """Read one version of an object, and continue where a connection breaks."""
    bucket, key = split_s3(stored.uri)
    position = failures = 0
    # at the end, but after a failure: only the end of the connection was missing
    while position < stored.size or not position:
        try:
            # boto3 compares the checksum that the server sends for a whole object
            how = {"Range": f"bytes={position}-"} if position else {"ChecksumMode": "ENABLED"}
            answer = connection.boto3.get_object(Bucket=bucket, Key=key, **how)
            with closing(answer["Body"]) as stream:
                _check(answer, stored, position)
                while data := bytes(stream.read(_PIECE_BYTES)):
                    position += len(data)
                    yield data
            if position == stored.size:
                return
            raise BrokenAnswerError("the answer ended too early")
        except FlexibleChecksumError as exc:
            message = f"the bytes of {stored.uri} do not match its checksum; store it again"
            raise S3Error(message) from exc
        except (*BotoError, OSError) as exc:
            failures += 1
            if failures == _ATTEMPTS or not fault_of(exc).is_passing:
                raise _failure("read", stored.uri, exc, connection) from exc
        time.sleep(random.uniform(0.5, 1) * _PAUSE_S * 2 ** (failures - 1))


def _check(answer: Any, stored: StoredObject, position: int) -> None:
    if strip_quotes(answer.get("ETag")) not in ("", stored.etag):
        raise S3Error(f"{stored.uri} has changed while it was read; try again")
    missing, offered = stored.size - position, answer["ContentLength"]
    if offered != missing:
        raise BrokenAnswerError(f"{missing:,} bytes expected, {offered:,} offered")


def _entries(client: Any, bucket: str, prefix: str) -> Iterator[Any]:
    place = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retry(partial(_page, client, place))
        yield from page.get("Contents", ())
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
