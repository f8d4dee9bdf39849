"""Objects on S3 and on what speaks S3: boto3 lists and writes; `s3_reads` reads.

obstore's listing fails on keys that its paths cannot hold, or changes them: boto3 lists everything.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from jobs.errors import StorageError
from jobs.storage.clients import persist, s3_clients
from jobs.storage.faults import BotoError, BrokenAnswerError, fault_of, storage_error
from jobs.storage.objects import DeniedError, Part, StoredObject, Wanted
from jobs.storage.s3_reads import bare, read_part
from model_repo.inception_v3.repository.locate import split_s3

_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")  # DeleteObjects cannot name such keys
_DELETE_BATCH = 1000
_md5 = partial(hashlib.md5, usedforsecurity=False)


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
                        yield StoredObject(name, entry["Size"], bare(entry.get("ETag")))
        except BotoError as exc:
            raise storage_error("list", uri, exc, s3_clients()) from exc

    def head(self, uri: str) -> StoredObject | None:
        """Ask for one object's size and etag.

        Raises:
            DeniedError: the credentials do not suffice.
            StorageError: it failed after every retry.
        """
        bucket, key = split_s3(uri)
        if not key:
            return None
        client = s3_clients().boto3
        try:
            found = persist(lambda: client.head_object(Bucket=bucket, Key=key))
        except BotoError as exc:
            status = fault_of(exc).status
            if status == 404:
                return None
            reason = (_refusal(bucket, key) if status in (400, 401, 403) else None) or exc
            raise storage_error("read", uri, reason, s3_clients()) from reason
        return StoredObject(uri, found["ContentLength"], bare(found.get("ETag")))

    def read(self, wanted: Wanted) -> Part:
        """Read an object or a range of it once (with the clients' retries).

        Raises:
            FetchError: it cannot be read, although the service works.
            StorageError: the service does not work, or not with these credentials.
        """
        return read_part(wanted)

    def write(self, uri: str, data: bytes) -> None:
        """Write an object with one PUT, which the server refuses if bytes are lost or changed.

        Raises:
            StorageError: it failed after every retry.
        """
        _put(uri, data, _md5(data).digest())

    def upload(self, uri: str, path: Path) -> None:
        """Write a file as an object with one PUT; its memory does not grow with the file.

        Raises:
            StorageError: it failed after every retry.
        """
        try:
            with path.open("rb") as file:
                _put(uri, file, hashlib.file_digest(file, _md5).digest())
        except OSError as exc:
            raise StorageError(f"cannot read {str(path)!r} to write {uri}: {exc}") from exc

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
        except DeniedError:
            return None


def _refusal(bucket: str, key: str) -> BaseException | None:
    """Find out why a HEAD was refused: its answer has no body to say so."""
    client = s3_clients().boto3
    try:
        client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
    except BotoError as exc:
        return exc
    return None


def _put(uri: str, body: Any, digest: bytes) -> None:
    bucket, key = split_s3(uri)
    client = s3_clients().boto3

    def put() -> None:
        if not isinstance(body, bytes):
            body.seek(0)
        checksum = base64.b64encode(digest).decode()
        client.put_object(Bucket=bucket, Key=key, Body=body, ContentMD5=checksum)

    try:
        persist(put)
    except BotoError as exc:
        raise storage_error("write", uri, exc, s3_clients()) from exc


def _pages(bucket: str, prefix: str) -> Iterator[Any]:
    place = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = persist(partial(_page, place))
        yield page
        if not page["IsTruncated"]:
            return
        place["ContinuationToken"] = page["NextContinuationToken"]


def _page(place: dict[str, str]) -> Any:
    """Ask for one page; boto3 takes an empty body, or any other XML, for an empty page."""
    page = s3_clients().boto3.list_objects_v2(**place)
    count = len(page.get("Contents", ()))
    is_whole = "IsTruncated" in page and count >= page.get("KeyCount", 0)
    if not is_whole or (page["IsTruncated"] and "NextContinuationToken" not in page):
        raise BrokenAnswerError(f"a listing of {place['Bucket']} with {count} keys is not whole")
    return page


def _delete_batch(bucket: str, keys: list[str]) -> None:
    try:
        persist(partial(_delete_keys, bucket, keys))
    except BotoError as exc:
        error = getattr(exc, "response", {}).get("Error", {})
        uri = f"s3://{bucket}/{error.get('Key', keys[0])}"
        raise storage_error("delete", uri, exc, s3_clients()) from exc


def _delete_keys(bucket: str, keys: list[str]) -> None:
    client = s3_clients().boto3
    for key in filter(_NOT_XML.search, keys):
        client.delete_object(Bucket=bucket, Key=key)
    batch = [{"Key": key} for key in keys if not _NOT_XML.search(key)]
    if not batch:
        return
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    for error in answer.get("Errors", ()):
        if error.get("Code") != "NoSuchKey":
            raise ClientError({"Error": error}, "DeleteObjects")
