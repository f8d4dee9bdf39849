"""What a failed request means: obstore's errors in boto3's words, and a job's own errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, GenericError, UnauthenticatedError

from jobs.errors import StorageError
from jobs.storage.objects import DeniedError, NoBucketError
from model_repo.inception_v3.s3 import faults
from model_repo.inception_v3.s3.connection import S3Connection
from model_repo.inception_v3.s3.faults import NO_KEYS, Fault, failure, is_passing
from model_repo.inception_v3.s3.objects import S3Error

_OBSTORE_PREAMBLE = re.compile(r"^Generic S3 error: (Error performing \w+ \S+ in .*? - )?")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_KINDS: dict[str, type[StorageError]] = {"no_bucket": NoBucketError, "denied": DeniedError}

ObstoreError = (BaseError, OSError, ValueError)


def fault_of(exc: BaseException) -> Fault:
    """Read an exception of boto3 or obstore."""
    if not isinstance(exc, BaseError | FileNotFoundError):
        return faults.fault_of(exc)
    text = " ".join(str(exc).partition("Debug source:")[0].split())
    text = _OBSTORE_PREAMBLE.sub("", text)
    found, named = _STATUS.search(text), _CODE.search(text)
    status, code = int(found[1]) if found else 0, named[1] if named else ""
    if status:
        return Fault(status, code, text, is_passing(status, code))
    if isinstance(exc, UnauthenticatedError):
        return Fault(0, NO_KEYS, text.rpartition("provider: ")[2], is_passing=False)
    # without an answer: a broken connection, or something that obstore itself refuses
    return Fault(0, code, text, isinstance(exc, GenericError) and "redirect" not in text)


def storage_error(
    action: str, uri: str, exc: BaseException, connection: S3Connection
) -> StorageError:
    """Put into one sentence what failed, and what to do."""
    fault = fault_of(exc)
    error = failure(action, uri, fault, connection.endpoint, connection.is_signed)
    if fault.is_throttling:
        error = S3Error(f"{error}, or with fewer --actors")
    return _to_storage_error(error)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn an `S3Error` into the `StorageError` that says the same."""
    try:
        yield
    except S3Error as exc:
        raise _to_storage_error(exc) from exc


def _to_storage_error(exc: S3Error) -> StorageError:
    return _KINDS.get(exc.kind, StorageError)(str(exc))
