"""Objects on S3 and on servers that speak S3: boto3 lists and writes; `s3_reads` reads.

obstore does not list: it fails on keys that its paths cannot hold, or changes them.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from jobs.errors import StorageError
from jobs.storage.clients import s3_clients
from jobs.storage.faults import storage_error, storage_errors
from jobs.storage.s3_reads import read_part
from model_repo.inception_v3.s3.connection import retry
from model_repo.inception_v3.s3.faults import BotoError, fault_of
from model_repo.inception_v3.s3.objects import StoredObject
from model_repo.inception_v3.s3.reader import S3Reader
from model_repo.inception_v3.s3.uri import split_s3

_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")  # DeleteObjects cannot name such keys
_DELETE_BATCH = 1000
_md5 = partial(hashlib.md5, usedforsecurity=False)


class S3Storage:
    """`Storage` for `s3://`: each method does and raises what `Storage` says."""

    read = staticmethod(read_part)

    def __init__(self) -> None:
        self._reader = S3Reader(s3_clients)

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """List in the server's order."""
        with storage_errors():
            yield from self._reader.list(uri, starts_with)

    def head(self, uri: str) -> StoredObject | None:
        """Ask for one object's size and etag."""
        with storage_errors():
            return self._reader.head(uri)

    def check_bucket(self, uri: str) -> None:
        """Raise if the bucket does not exist; whatever else is wrong, a write says better."""
        clients, (bucket, _) = s3_clients(), split_s3(uri)
        try:
            retry(partial(clients.boto3.head_bucket, Bucket=bucket))
        except BotoError as exc:
            if fault_of(exc).status == 404:
                missing = ClientError({"Error": {"Code": "NoSuchBucket"}}, "HeadBucket")
                raise storage_error("write", uri, missing, clients) from exc

    def write(self, uri: str, data: bytes) -> None:
        """Write with one PUT; the server refuses it if bytes are lost or changed."""
        _put(uri, data, _md5(data).digest())

    def upload(self, uri: str, path: Path) -> None:
        """Write with one PUT; memory does not grow with the file."""
        try:
            with path.open("rb") as file:
                _put(uri, file, hashlib.file_digest(file, _md5).digest())
        except OSError as exc:
            raise StorageError(f"cannot read {str(path)!r} to write {uri}: {exc}") from exc

    def delete(self, uris: Iterable[str]) -> None:
        """Delete a thousand objects per request."""
        for bucket, group in groupby(map(split_s3, uris), itemgetter(0)):
            while keys := [key for _, key in islice(group, _DELETE_BATCH)]:
                _delete_batch(bucket, keys)


def _put(uri: str, body: Any, digest: bytes) -> None:
    bucket, key = split_s3(uri)
    client = s3_clients().boto3

    checksum = base64.b64encode(digest).decode()

    def put() -> None:
        if not isinstance(body, bytes):
            body.seek(0)
        client.put_object(Bucket=bucket, Key=key, Body=body, ContentMD5=checksum)

    try:
        retry(put)
    except BotoError as exc:
        raise storage_error("write", uri, exc, s3_clients()) from exc


def _delete_batch(bucket: str, keys: list[str]) -> None:
    try:
        retry(partial(_delete_keys, bucket, keys))
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
