"""Objects on S3 and on what speaks S3: boto3 lists and writes, obstore reads.

obstore's paths cannot hold every key (`a//b`, `./a`, a slash at either end, control characters):
its listing fails on them or changes them, so boto3 lists everything and reads such keys.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError
from obstore.exceptions import BaseError
from urllib3.exceptions import HTTPError

from jobs.errors import FetchError, StorageError
from jobs.storage.clients import S3Clients, s3_clients, unreachable
from jobs.storage.objects import NoBucketError, Part, StoredObject, check_size, split_s3

_ODD_KEY = re.compile(r"^/|/$|//|[\x00-\x1f\x7f]|(^|/)\.\.?(/|$)")
_BUCKET = re.compile(r"[A-Za-z0-9._-]+")  # with another, obstore panics
_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")  # DeleteObjects cannot name such keys
_DELETE_BATCH = 1000
_MULTIPART = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=16 << 20)
_PERMISSIONS = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
}
_KEY_PROBLEMS = {
    "InvalidAccessKeyId": "does not know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "rejects the signature; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "says that the credentials have expired; renew them",
    "InvalidToken": "rejects the session token; check AWS_SESSION_TOKEN",
}
_BrokenBody = (HTTPError, IncompleteReadError, ResponseStreamingError, ResponseParserError)
_BotoError = (BotoCoreError, ClientError, UnicodeError, *_BrokenBody)
_PAGE_ATTEMPTS = 5


class S3Storage:
    """What `Storage` does for `s3://`."""

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """List everything under a prefix in the server's order; an object's own uri lists itself.

        Raises:
            StorageError: the listing failed after every retry.
        """
        bucket, key = split_s3(uri)
        if key and not key.endswith("/"):
            if not starts_with and (found := self._head_if_allowed(uri)):
                yield found
                return
            key += "/"
        try:
            for page in _pages(bucket, key + starts_with):
                for entry in page.get("Contents", ()):
                    if entry["Size"] or not entry["Key"].endswith("/"):  # else a folder placeholder
                        name = f"s3://{bucket}/{entry['Key']}"
                        yield StoredObject(name, entry["Size"], _bare(entry.get("ETag")))
        except _BotoError as exc:
            raise _storage_error("list", uri, exc) from exc

    def head(self, uri: str) -> StoredObject | None:
        """Ask for one object's size and etag.

        Raises:
            StorageError: the request was refused, or failed after every retry.
        """
        bucket, key = split_s3(uri)
        if not key:
            return None
        try:
            found = s3_clients().boto3.head_object(Bucket=bucket, Key=key)
        except _BotoError as exc:
            if _status(exc) == 404:
                return None
            raise _storage_error("read", uri, exc) from exc
        return StoredObject(uri, found["ContentLength"], _bare(found.get("ETag")))

    def read(self, uri: str, offset: int | None, length: int | None) -> Part:
        """Read an object, or `length` bytes of it from `offset`, once (with the client's retries).

        Raises:
            FetchError: it cannot be read.
        """
        bucket, key = split_s3(uri)
        if not key:
            raise FetchError("not_found", f"{uri!r} names no object")
        clients = _clients_to_read()
        if _ODD_KEY.search(key) or not _BUCKET.fullmatch(bucket):
            return _read_with_boto3(clients, uri, offset, length)
        return _read_with_obstore(clients, uri, offset, length)

    def write(self, uri: str, data: bytes) -> None:
        """Write an object with one PUT.

        Raises:
            StorageError: it failed after every retry.
        """
        bucket, key = split_s3(uri)
        try:
            s3_clients().boto3.put_object(Bucket=bucket, Key=key, Body=data)
        except _BotoError as exc:
            raise _storage_error("write", uri, exc) from exc

    def upload(self, uri: str, path: Path) -> None:
        """Write a file as an object, in parts when it is large.

        Raises:
            StorageError: it failed after every retry.
        """
        bucket, key = split_s3(uri)
        try:
            s3_clients().boto3.upload_file(str(path), bucket, key, Config=_MULTIPART)
        except S3UploadFailedError as exc:
            raise _storage_error("write", uri, exc.__context__ or exc) from exc
        except (*_BotoError, OSError) as exc:
            raise _storage_error("write", uri, exc) from exc

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects of any buckets, a thousand per request; missing ones are fine.

        Raises:
            StorageError: one could not be deleted.
        """
        batches: dict[str, list[str]] = {}
        for uri in uris:
            bucket, key = split_s3(uri)
            keys = batches.setdefault(bucket, [])
            keys.append(key)
            if len(keys) == _DELETE_BATCH:
                _delete_batch(bucket, batches.pop(bucket))
        for bucket, keys in batches.items():
            _delete_batch(bucket, keys)

    def _head_if_allowed(self, uri: str) -> StoredObject | None:
        """HEAD needs s3:GetObject; who may only list can still list."""
        try:
            return self.head(uri)
        except StorageError as exc:
            if _status(exc.__cause__) == 403:
                return None
            raise


def _pages(bucket: str, prefix: str) -> Iterator[Any]:
    """Give the pages of a listing; one whose body breaks, which boto3 does not retry, again."""
    place = {"Bucket": bucket, "Prefix": prefix}
    broken = 0
    while True:
        try:
            page = s3_clients().boto3.list_objects_v2(**place)
        except _BrokenBody:
            broken += 1
            if broken == _PAGE_ATTEMPTS:
                raise
            continue
        broken = 0
        yield page
        if not page.get("IsTruncated"):
            return
        place["ContinuationToken"] = page["NextContinuationToken"]


def _delete_batch(bucket: str, keys: list[str]) -> None:
    uri = f"s3://{bucket}/{keys[0]}"
    batch = [{"Key": key} for key in keys if not _NOT_XML.search(key)]
    client = s3_clients().boto3
    try:
        for key in filter(_NOT_XML.search, keys):
            client.delete_object(Bucket=bucket, Key=key)
        if not batch:
            return
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    except _BotoError as exc:
        raise _storage_error("delete", uri, exc) from exc
    for error in answer.get("Errors", ()):
        if error.get("Code") != "NoSuchKey":
            failed = ClientError({"Error": error}, "DeleteObjects")
            raise _storage_error("delete", f"s3://{bucket}/{error.get('Key')}", failed) from failed


def _clients_to_read() -> S3Clients:
    try:
        return s3_clients()
    except StorageError as exc:
        raise FetchError("storage", str(exc)) from exc


def _read_with_obstore(
    clients: S3Clients, uri: str, offset: int | None, length: int | None
) -> Part:
    bucket, key = split_s3(uri)
    span: Any = {} if offset is None else {"range": {"offset": offset}}
    if offset is not None and length is not None:
        span = {"range": (offset, offset + length)}
    try:
        answer = clients.store(bucket).get(key, options=span)
        start, stop = answer.range
        check_size(uri, stop - start)
        return Part(bytes(answer.bytes()), stop - start, _bare(answer.meta["e_tag"]))
    except FileNotFoundError as exc:
        raise _not_found(uri, str(exc)) from exc
    except PermissionError as exc:
        raise _denied(uri, clients) from exc
    except (BaseError, OSError, ValueError) as exc:
        if " 403 " in str(exc):
            raise _denied(uri, clients) from exc
        raise FetchError("storage", f"cannot read {uri}: {_brief(exc)}") from exc


def _read_with_boto3(clients: S3Clients, uri: str, offset: int | None, length: int | None) -> Part:
    bucket, key = split_s3(uri)
    span = {}
    if offset is not None:
        span = {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
    try:
        answer = clients.boto3.get_object(Bucket=bucket, Key=key, **span)
        declared = answer["ContentLength"]
        check_size(uri, declared)
        with answer["Body"] as body:
            return Part(_read_body(body), declared, _bare(answer.get("ETag")))
    except _BotoError as exc:
        if _status(exc) == 404:
            raise _not_found(uri, str(exc)) from exc
        if _status(exc) == 403:
            raise _denied(uri, clients) from exc
        raise FetchError("storage", f"cannot read {uri}: {_brief(exc)}") from exc


def _read_body(body: Any) -> bytes:
    """Read a body; a broken one comes back empty, which the caller notices."""
    try:
        return bytes(body.read())
    except (*_BrokenBody, ReadTimeoutError):
        return b""


def _not_found(uri: str, answer: str) -> FetchError:
    if "NoSuchBucket" in answer:
        return FetchError("not_found", f"{uri}: bucket {split_s3(uri)[0]!r} does not exist")
    return FetchError("not_found", f"{uri} does not exist")


def _denied(uri: str, clients: S3Clients) -> FetchError:
    return FetchError("access_denied", f"{uri} may not be read; {_permission('read', clients)}")


def _permission(action: str, clients: S3Clients) -> str:
    if not clients.is_signed:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return f"the credentials need {_PERMISSIONS[action]}"


def _storage_error(action: str, uri: str, exc: BaseException) -> StorageError:
    """Put into one sentence what failed, and the remedy."""
    clients = s3_clients()
    error = getattr(exc, "response", {}).get("Error", {})
    code, bucket = str(error.get("Code", "")), split_s3(uri)[0]
    if code == "NoSuchBucket":
        return NoBucketError(
            f"bucket {bucket!r} does not exist at {clients.endpoint}; create it or correct the name"
        )
    if code in _KEY_PROBLEMS:
        return StorageError(f"cannot {action} {uri}: {clients.endpoint} {_KEY_PROBLEMS[code]}")
    if _status(exc) == 403 or code == "AccessDenied":
        return StorageError(f"cannot {action} {uri}: access denied; {_permission(action, clients)}")
    if isinstance(exc, EndpointConnectionError | ConnectTimeoutError):
        return StorageError(unreachable(clients.endpoint))
    return StorageError(f"cannot {action} {uri}: {_brief(exc)}")


def _status(exc: BaseException | None) -> int:
    response: Any = getattr(exc, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def _brief(exc: BaseException) -> str:
    return " ".join(str(exc).partition("Debug source:")[0].split())[:300]
