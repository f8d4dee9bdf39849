"""What a failed request to S3 means: one vocabulary, and sentences that say what to do."""

from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from model_repo.inception_v3.s3.objects import S3Error
from model_repo.inception_v3.s3.uri import split_s3

_THROTTLING = {
    *("SlowDown", "ServiceUnavailable", "TooManyRequests", "Throttling", "RequestLimitExceeded"),
    *("ThrottlingException", "RequestThrottled", "KMS.ThrottlingException"),
}
# worth another try although the status does not say so, or there is none
_PASSING = {
    *("InternalError", "RequestTimeout", "IncompleteBody", "BadDigest"),
    *("XAmzContentSHA256Mismatch", *_THROTTLING),
}
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
_KEY_PROBLEMS = {
    "InvalidAccessKeyId": "does not know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "rejects the signature; check AWS_SECRET_ACCESS_KEY",
    **dict.fromkeys(_EXPIRED, "says that the credentials have expired; renew them"),
    "InvalidToken": "rejects the session token; check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "finds this machine's clock wrong; set it",
    "RequestExpired": "finds this machine's clock wrong; set it",
    "AuthorizationHeaderMalformed": "expects another region; check AWS_REGION",
}
ARCHIVED = "archived in Glacier or Deep Archive; restore it first (aws s3api restore-object)"
# our own codes, for requests without an answer
NO_KEYS = "NoCredentials"
_NO_CONNECTION = "NoConnection"
_KEY_SERVICES = {"AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "CreateToken"}
_PERMISSIONS = dict(list="ListBucket", read="GetObject", write="PutObject", delete="DeleteObject")


class BrokenAnswerError(Exception):
    """An answer with status 200 that is incomplete or not what was requested."""


_BrokenBody = (
    *(HTTPError, ResponseParserError, BrokenAnswerError),
    *(boto.IncompleteReadError, boto.ResponseStreamingError),
)
_NoAnswer = (boto.HTTPClientError, boto.ConnectionError, OSError, *_BrokenBody)
# botocore raises these when it renews credentials; the JSON error comes from a credential process
_NoKeys = (
    *(boto.CredentialRetrievalError, boto.MetadataRetrievalError, boto.NoCredentialsError),
    *(boto.PartialCredentialsError, boto.SSOError, boto.TokenRetrievalError, JSONDecodeError),
)
_NotConnected = (boto.EndpointConnectionError, boto.ConnectTimeoutError)
# ValueError: a key that is not UTF-8, or a credential process that prints no JSON
BotoError = (boto.BotoCoreError, boto.ClientError, ValueError, *_BrokenBody)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request.

    Attributes:
        status: of the answer; 0 without one.
        code: S3's word for what is wrong; `""` if the answer has none.
        text: the client's own words.
        is_passing: whether the same request may well succeed later.
    """

    status: int
    code: str
    text: str
    is_passing: bool

    @property
    def is_throttling(self) -> bool:
        """Whether the server is overloaded; a single object is never to blame."""
        return self.status in (429, 503) or self.code in _THROTTLING

    @property
    def is_of_keys(self) -> bool:
        """Whether the credentials are not accepted, whatever they are used for."""
        return self.status == 401 or self.code in _KEY_PROBLEMS or self.code == NO_KEYS

    @property
    def is_archived(self) -> bool:
        """Whether the object has to be restored before it can be read."""
        return self.code == "InvalidObjectState"

    @property
    def is_denial(self) -> bool:
        """Whether the credentials are accepted, but not for this."""
        refused = self.status == 403 or self.code == "AccessDenied"
        return refused and not self.is_of_keys and not self.is_archived


def fault_of(exc: BaseException) -> Fault:
    """Read an exception of boto3."""
    text = " ".join(str(exc).split())
    if isinstance(exc, boto.ClientError):
        answer: Any = exc.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(answer.get("Error", {}).get("Code", ""))
        if exc.operation_name in _KEY_SERVICES:
            code = NO_KEYS
        return Fault(status, "" if code.isdecimal() else code, text, is_passing(status, code))
    if isinstance(exc, _NoKeys):
        return Fault(0, NO_KEYS, text, is_passing=False)
    code = _NO_CONNECTION if isinstance(exc, _NotConnected) else ""
    return Fault(0, code, text, isinstance(exc, _NoAnswer) and "CERTIFICATE" not in text)


def is_passing(status: int, code: str) -> bool:
    """Say whether a request with this answer may well succeed later."""
    return (status >= 500 and status != 501) or status in (408, 429) or code in _PASSING


def failure(action: str, uri: str, fault: Fault, endpoint: str, is_signed: bool) -> S3Error:
    """Put into one sentence which `action` failed in the end, and what to do.

    It is `list`, `read`, `write` or `delete`; `is_signed` says whether there were credentials.
    """
    if fault.code == "NoSuchBucket":
        problem = f"bucket {split_s3(uri)[0]!r} does not exist at {endpoint}"
        return S3Error(f"{problem}; create it or correct the name", "no_bucket")
    if fault.code == _NO_CONNECTION:
        return S3Error(unreachable(endpoint))
    reason = f"it is {ARCHIVED}"
    if not fault.is_archived:
        reason = _reason(action, fault, endpoint, is_signed)
    return S3Error(f"cannot {action} {uri}: {reason}", "denied" if fault.is_denial else "failed")


def unreachable(endpoint: str) -> str:
    """Say that an endpoint does not answer, and what to do."""
    return f"the S3 endpoint {endpoint} cannot be reached; check AWS_ENDPOINT_URL and the network"


def permission(action: str, is_signed: bool) -> str:
    """Say what is missing when access is denied."""
    if not is_signed:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return f"the credentials need s3:{_PERMISSIONS[action]}"


def _reason(action: str, fault: Fault, endpoint: str, is_signed: bool) -> str:
    answered = f"{fault.status or ''} {fault.code}".strip()
    if fault.code == NO_KEYS:
        return f"there are no credentials any more ({fault.text[:300]}); check AWS_PROFILE"
    if fault.is_of_keys:
        problem = _KEY_PROBLEMS.get(fault.code, "does not accept the credentials; renew them")
        return f"{endpoint} {problem}"
    if fault.is_denial:
        return f"access denied; {permission(action, is_signed)}"
    if fault.is_throttling:
        return f"{endpoint} still throttles ({answered}) after every retry; try later"
    if fault.status >= 500:
        return f"{endpoint} still answers {answered} after every retry; check the server"
    broken = f"no whole answer from {endpoint} ({fault.text[:200]})"
    is_broken = fault.is_passing and not fault.status
    return f"{broken}; check the network and the server" if is_broken else fault.text[:300]
