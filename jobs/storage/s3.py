"""Objects on S3 and on servers that speak S3: boto3 lists and writes; `s3_reads` reads.

obstore does not list: it fails on keys that its paths cannot hold, or changes them.
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
from jobs.storage.clients import s3_clients
from jobs.storage.faults import storage_error, storage_errors
from jobs.storage.objects import Part, Wanted
from jobs.storage.s3_reads import read_part
from model_repo.inception_v3.s3.connection import retry
from model_repo.inception_v3.s3.faults import BotoError
from model_repo.inception_v3.s3.objects import StoredObject
from model_repo.inception_v3.s3.reader import S3Reader
from model_repo.inception_v3.s3.uri import split_s3

_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")  # DeleteObjects cannot name such keys
_DELETE_BATCH = 1000
_md5 = partial(hashlib.md5, usedforsecurity=False)


class S3Storage:
    """`Storage` for `s3://`."""

    def __init__(self) -> None:
        self._reader = S3Reader(s3_clients)

    def list(self, uri: str, starts_with: str = "") -> Iterator[StoredObject]:
        """List everything under a prefix in the server's order; an object's own URI lists itself.

        Raises:
            StorageError: the listing failed after every retry.
        """
        with storage_errors():
            yield from self._reader.list(uri, starts_with)

    def head(self, uri: str) -> StoredObject | None:
        """Ask for one object's size and etag; None if it does not exist.

        Raises:
            DeniedError: the credentials do not allow it.
            StorageError: it failed after every retry.
        """
        with storage_errors():
            return self._reader.head(uri)

    def read(self, wanted: Wanted) -> Part:
        """Read an object or a range of it once, with the clients' retries.

        Raises:
            FetchError: it cannot be read, although S3 works.
            StorageError: S3 does not work, or refuses these credentials.
        """
        return read_part(wanted)

    def write(self, uri: str, data: bytes) -> None:
        """Write an object with one PUT; the server refuses it if bytes are lost or changed.

        Raises:
            StorageError: it failed after every retry.
        """
        _put(uri, data, _md5(data).digest())

    def upload(self, uri: str, path: Path) -> None:
        """Write a file as an object with one PUT; memory does not grow with the file.

        Raises:
            StorageError: it failed after every retry.
        """
        try:
            with path.open("rb") as file:
                _put(uri, file, hashlib.file_digest(file, _md5).digest())
        except OSError as exc:
            raise StorageError(f"cannot read {str(path)!r} to write {uri}: {exc}") from exc

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects in any buckets, a thousand per request; missing ones are fine.

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


def _put(uri: str, body: Any, digest: bytes) -> None:
    bucket, key = split_s3(uri)
    client = s3_clients().boto3

    def put() -> None:
        if not isinstance(body, bytes):
            body.seek(0)
        checksum = base64.b64encode(digest).decode()
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
