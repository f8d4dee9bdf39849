"""What the S3 clients' exceptions mean, in one vocabulary and in sentences for the user."""

import re
from dataclasses import dataclass
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from obstore.exceptions import BaseError, GenericError, UnauthenticatedError
from urllib3.exceptions import HTTPError

from jobs.errors import StorageError
from jobs.storage.objects import DeniedError, NoBucketError
from model_repo.inception_v3.repository.locate import split_s3

if TYPE_CHECKING:
    from jobs.storage.clients import S3Clients

_OBSTORE_PREAMBLE = re.compile(r"^Generic S3 error: (Error performing \w+ \S+ in .*? - )?")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_THROTTLING = {
    *("SlowDown", "ServiceUnavailable", "TooManyRequests", "Throttling", "RequestLimitExceeded"),
    *("ThrottlingException", "RequestThrottled", "KMS.ThrottlingException"),
}
# of a request that is to be repeated though the status does not say so, or comes without one
_PASSING = {
    *("InternalError", "RequestTimeout", "IncompleteBody", "BadDigest"),
    *("XAmzContentSHA256Mismatch", *_THROTTLING),
}
_KEY_PROBLEMS = {
    "InvalidAccessKeyId": "does not know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "rejects the signature; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "says that the credentials have expired; renew them",
    "ExpiredTokenException": "says that the credentials have expired; renew them",
    "TokenRefreshRequired": "says that the credentials have expired; renew them",
    "InvalidToken": "rejects the session token; check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "finds this machine's clock wrong; set it",
    "RequestExpired": "finds this machine's clock wrong; set it",
    "AuthorizationHeaderMalformed": "expects another region; check AWS_REGION",
}
_NO_KEYS = "NoCredentials"  # our own word: no request was sent
_KEY_SERVICES = {"AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "CreateToken"}
_PERMISSIONS = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
}


class BrokenAnswerError(Exception):
    """An answer with status 200 that is not what was asked for, or not all of it."""


_BrokenBody = (
    *(HTTPError, IncompleteReadError, ResponseStreamingError, ResponseParserError),
    BrokenAnswerError,
)
_NoAnswer = (HTTPClientError, NoConnectionError, OSError, *_BrokenBody)
# what botocore raises where it renews credentials; a JSON error is a credential process's
_NoKeys = (
    *(CredentialRetrievalError, MetadataRetrievalError, NoCredentialsError, JSONDecodeError),
    *(PartialCredentialsError, SSOError, TokenRetrievalError),
)
# a ValueError: of a key that is not UTF-8, or of a credential process that prints no JSON
BotoError = (BotoCoreError, ClientError, ValueError, *_BrokenBody)
ObstoreError = (BaseError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request.

    Attributes:
        status: of the answer; 0 where none came.
        code: S3's word for what is wrong; `""` where the answer has none.
        text: the client's own words.
        is_passing: whether the same request may well succeed later.
    """

    status: int
    code: str
    text: str
    is_passing: bool

    @property
    def is_throttling(self) -> bool:
        """Whether the server has too much to do; never the fault of one object."""
        return self.status in (429, 503) or self.code in _THROTTLING

    @property
    def is_of_keys(self) -> bool:
        """Whether the credentials are not accepted, whatever they are used for."""
        return self.status == 401 or self.code in _KEY_PROBLEMS or self.code == _NO_KEYS

    @property
    def is_denial(self) -> bool:
        """Whether the credentials are accepted, but not for this."""
        return (self.status == 403 or self.code == "AccessDenied") and not self.is_of_keys


def fault_of(exc: BaseException) -> Fault:
    """Read an exception of boto3 or obstore."""
    text = _words(exc)
    if isinstance(exc, ClientError):
        return _refusal(exc, text)
    if isinstance(exc, BaseError | FileNotFoundError):
        return _obstore_fault(exc, text)
    if isinstance(exc, _NoKeys):
        return Fault(0, _NO_KEYS, text, is_passing=False)
    return Fault(0, "", text, isinstance(exc, _NoAnswer) and "CERTIFICATE" not in text)


def storage_error(action: str, uri: str, exc: BaseException, clients: "S3Clients") -> StorageError:
    """Put into one sentence what failed, and the remedy."""
    fault, bucket, endpoint = fault_of(exc), split_s3(uri)[0], clients.endpoint
    if fault.code == "NoSuchBucket":
        return NoBucketError(
            f"bucket {bucket!r} does not exist at {endpoint}; create it or correct the name"
        )
    if isinstance(exc, EndpointConnectionError | ConnectTimeoutError):
        return StorageError(unreachable(endpoint))
    kind = DeniedError if fault.is_denial else StorageError
    return kind(f"cannot {action} {uri}: {_reason(action, fault, clients)}")


def unreachable(endpoint: str) -> str:
    """Say that an endpoint does not answer, and what to do."""
    return f"the S3 endpoint {endpoint} cannot be reached; check AWS_ENDPOINT_URL and the network"


def permission(action: str, clients: "S3Clients") -> str:
    """Say what is missing where access was denied."""
    if not clients.is_signed:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return f"the credentials need {_PERMISSIONS[action]}"


def brief(exc: BaseException) -> str:
    """Shorten a client's words."""
    return fault_of(exc).text[:300]


def _words(exc: BaseException) -> str:
    text = " ".join(str(exc).partition("Debug source:")[0].split())
    return _OBSTORE_PREAMBLE.sub("", text)


def _refusal(exc: ClientError, text: str) -> Fault:
    answer: Any = exc.response
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(answer.get("Error", {}).get("Code", ""))
    if exc.operation_name in _KEY_SERVICES:
        code = _NO_KEYS
    return Fault(status, "" if code.isdecimal() else code, text, _is_passing(status, code))


def _obstore_fault(exc: BaseException, text: str) -> Fault:
    found, named = _STATUS.search(text), _CODE.search(text)
    status, code = int(found[1]) if found else 0, named[1] if named else ""
    if status:
        return Fault(status, code, text, _is_passing(status, code))
    if isinstance(exc, UnauthenticatedError):
        return Fault(0, _NO_KEYS, text.rpartition("provider: ")[2], is_passing=False)
    # without an answer: a broken connection, or what obstore refuses by itself
    return Fault(0, code, text, isinstance(exc, GenericError) and "redirect" not in text)


def _is_passing(status: int, code: str) -> bool:
    return (status >= 500 and status != 501) or status in (408, 429) or code in _PASSING


def _reason(action: str, fault: Fault, clients: "S3Clients") -> str:
    answered = f"{fault.status or ''} {fault.code}".strip()
    if fault.is_of_keys:
        return _problem_of_keys(fault, clients)
    if fault.is_denial:
        return f"access denied; {permission(action, clients)}"
    if fault.is_throttling:
        return (
            f"{clients.endpoint} still throttles ({answered}) after every retry; "
            "try later, or with fewer --actors"
        )
    if fault.status >= 500:
        return f"{clients.endpoint} still answers {answered} after every retry; check the server"
    if fault.is_passing and not fault.status:
        return f"no whole answer from {clients.endpoint} ({fault.text[:200]}); check the network"
    return fault.text[:300]


def _problem_of_keys(fault: Fault, clients: "S3Clients") -> str:
    if fault.code == _NO_KEYS:
        return f"there are no credentials any more ({fault.text[:300]}); check AWS_PROFILE"
    problem = _KEY_PROBLEMS.get(fault.code, "does not accept the credentials; renew them")
    return f"{clients.endpoint} {problem}"
