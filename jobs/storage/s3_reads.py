"""Reading objects on S3: intact, or with an error that says whether object or service is at fault.

obstore reads, in a fraction of boto3's time. boto3 reads keys that obstore cannot name, and what
needs the server's checksum: objects whose etag is not an MD5, or does not match their body.
"""

import hashlib
import re
from contextlib import closing
from functools import partial
from typing import Any

from botocore.exceptions import FlexibleChecksumError, ParamValidationError
from botocore.httpchecksum import StreamingChecksumBody

from jobs.errors import FetchError
from jobs.storage.clients import S3Clients, s3_clients
from jobs.storage.faults import ObstoreError, fault_of, storage_error
from jobs.storage.objects import Part, Wanted, archived, check_size
from model_repo.inception_v3.s3.connection import retry
from model_repo.inception_v3.s3.faults import BotoError, permission
from model_repo.inception_v3.s3.objects import strip_quotes
from model_repo.inception_v3.s3.uri import split_s3

# obstore's paths cannot hold every key (`a//b`, `./a`, a slash at either end, control characters)
_ODD_KEY = re.compile(r"^/|/$|//|[\x00-\x1f\x7f]|(^|/)\.\.?(/|$)")
_BUCKET = re.compile(r"[A-Za-z0-9._-]+")  # obstore panics on any other
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_OF_THE_NAME = ("InvalidRequest", "InvalidURI", "InvalidArgument", "KeyTooLongError")
_OBSTORE_ATTEMPTS = 2  # before boto3 gives a second opinion on a body
_CONTROL_PATIENCE_S = 10.0


def read_part(wanted: Wanted) -> Part:
    """Read an object or a range of it once, with the clients' retries.

    Raises:
        FetchError: it cannot be read, although S3 works.
        StorageError: S3 does not work, or refuses these credentials.
    """
    bucket, key = split_s3(wanted.uri)
    if not key:
        raise FetchError("not_found", f"{wanted.uri!r} names no object")
    clients = s3_clients()
    try:
        if _suits_obstore(wanted, clients):
            part = _read_with_obstore(clients, wanted)
        else:
            part = retry(partial(_read_with_boto3, clients, wanted))
    except (*BotoError, *ObstoreError) as exc:
        part = _read_despite(exc, clients, wanted)
    if part.is_intact:
        clients.last_read[bucket] = key
    return part


def _suits_obstore(wanted: Wanted, clients: S3Clients) -> bool:
    bucket, key = split_s3(wanted.uri)
    if _ODD_KEY.search(key) or not _BUCKET.fullmatch(bucket):
        return False
    is_told_by_etag = "-" not in (wanted.etag or "") and bucket not in clients.opaque_etags
    return wanted.offset is not None or (is_told_by_etag and wanted.attempt < _OBSTORE_ATTEMPTS)


def _read_with_obstore(clients: S3Clients, wanted: Wanted) -> Part:
    bucket, key = split_s3(wanted.uri)
    span: Any = {} if wanted.offset is None else {"range": {"offset": wanted.offset}}
    if wanted.offset is not None and wanted.length is not None:
        span = {"range": (wanted.offset, wanted.offset + wanted.length)}
    answer = clients.store(bucket).get(key, options=span)
    start, stop = answer.range
    check_size(wanted.uri, stop - start)
    data, etag = bytes(answer.bytes()), strip_quotes(answer.meta["e_tag"])
    return Part(data, stop - start, etag, wanted.offset is not None or _matches(data, etag))


def _read_with_boto3(clients: S3Clients, wanted: Wanted) -> Part:
    bucket, key = split_s3(wanted.uri)
    span = {"ChecksumMode": "ENABLED"}  # boto3 compares what the server sends
    if wanted.offset is not None:
        last = "" if wanted.length is None else wanted.offset + wanted.length - 1
        span = {"Range": f"bytes={wanted.offset}-{last}"}
    answer = clients.boto3.get_object(Bucket=bucket, Key=key, **span)
    declared, etag = answer["ContentLength"], strip_quotes(answer.get("ETag"))
    check_size(wanted.uri, declared)
    body = answer["Body"]
    try:
        with closing(body):  # its own context manager gives the raw stream, unchecked
            data = bytes(body.read())
    except FlexibleChecksumError:
        return Part(b"", declared, etag, is_intact=False)
    is_checked = wanted.offset is not None or isinstance(body, StreamingChecksumBody)
    if not is_checked and _is_opaque(answer):
        clients.opaque_etags.add(bucket)
        is_checked = True
    return Part(data, declared, etag, is_checked or _matches(data, etag))


def _matches(data: bytes, etag: str) -> bool:
    """Compare an object with its etag if that is an MD5; any other matches."""
    if not _MD5.fullmatch(etag):
        return True
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == etag.lower()


def _is_opaque(answer: dict[str, Any]) -> bool:
    """Say whether encryption makes the object's etag look like an MD5 without being one."""
    encryption = str(answer.get("ServerSideEncryption", ""))
    return encryption.startswith("aws:kms") or "SSECustomerAlgorithm" in answer


def _read_despite(exc: BaseException, clients: S3Clients, wanted: Wanted) -> Part:
    """Read again with fresh credentials; if that fails too, see whether another object can be read.

    Raises:
        FetchError: the object is at fault.
        StorageError: the service is.
    """
    _judge(exc, clients, wanted.uri)
    clients.forget_store(split_s3(wanted.uri)[0])
    try:
        return retry(partial(_read_with_boto3, clients, wanted), _CONTROL_PATIENCE_S)
    except BotoError as again:
        _judge(again, clients, wanted.uri)
        if not _serves_another(clients, wanted.uri):
            raise storage_error("read", wanted.uri, again, clients) from again
        reason = fault_of(again).text[:300]
        raise FetchError(
            "storage", f"cannot read {wanted.uri}, although others can be read: {reason}"
        ) from again


def _judge(exc: BaseException, clients: S3Clients, uri: str) -> None:
    """Raise what a failed read clearly means; return if object or service may be at fault."""
    fault = fault_of(exc)
    if fault.status == 404 or isinstance(exc, FileNotFoundError):
        what = f": bucket {split_s3(uri)[0]!r}" if "NoSuchBucket" in fault.text else ""
        raise FetchError("not_found", f"{uri}{what} does not exist") from exc
    if fault.is_archived:
        raise archived(uri) from exc
    if fault.is_denial:
        reason = permission("read", clients.is_signed)
        raise FetchError("access_denied", f"{uri} may not be read; {reason}") from exc
    if fault.is_throttling:
        raise storage_error("read", uri, exc, clients) from exc
    if isinstance(exc, ParamValidationError | UnicodeError) or fault.code in _OF_THE_NAME:
        raise FetchError("storage", f"cannot read {uri}: {fault.text[:300]}") from exc


def _serves_another(clients: S3Clients, uri: str) -> bool:
    """Say whether the first byte of another object can be read."""
    bucket, key = split_s3(uri)
    try:
        known = clients.last_read.get(bucket, key)
        if known == key:
            known = retry(partial(_find_another, clients, bucket, key), _CONTROL_PATIENCE_S)
        if known:
            retry(partial(_read_a_byte, clients, bucket, known), _CONTROL_PATIENCE_S)
    except BotoError as exc:
        return fault_of(exc).status == 404  # deleted since, but the service works
    return bool(known)


def _find_another(clients: S3Clients, bucket: str, key: str) -> str:
    """Return another key of the object's folder; `""` if there is none."""
    folder = key[: key.rfind("/") + 1]
    page = clients.boto3.list_objects_v2(Bucket=bucket, Prefix=folder, MaxKeys=10)
    others = (entry["Key"] for entry in page.get("Contents", ()) if entry["Size"])
    return next((str(other) for other in others if other != key), "")


def _read_a_byte(clients: S3Clients, bucket: str, key: str) -> None:
    with closing(clients.boto3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        body.read(1)
