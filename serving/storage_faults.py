"""What boto3's exceptions mean, in sentences that say what to do."""

from typing import Any

from botocore import UNSIGNED
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from model_repo.inception_v3 import RepositoryError
from model_repo.inception_v3.repository.locate import split_s3

# a ValueError: of an endpoint that is no URL, of a key that is not UTF-8, of a credential process
BotoError = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError, ValueError)
NoConnection = (ConnectTimeoutError, EndpointConnectionError)
_PERMISSIONS = {"list": "s3:ListBucket", "read": "s3:GetObject"}


def status_of(exc: BaseException) -> int:
    """Return the HTTP status of a refusal; 0 where no answer came."""
    answer: Any = getattr(exc, "response", None) or {}
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def repository_error(action: str, uri: str, exc: BaseException, client: Any) -> RepositoryError:
    """Put into one sentence what failed, and the remedy.

    Args:
        action: `list` or `read`.
        uri: of what.
        exc: one of `BotoError`, after every retry.
        client: the boto3 client that raised it.
    """
    endpoint = client.meta.endpoint_url
    if _code(exc) == "NoSuchBucket":
        bucket = split_s3(uri)[0]
        return RepositoryError(
            f"bucket {bucket!r} does not exist at {endpoint}; create it or correct the name"
        )
    if isinstance(exc, NoConnection):
        return RepositoryError(
            f"the S3 endpoint {endpoint} cannot be reached; check AWS_ENDPOINT_URL and the network"
        )
    return RepositoryError(f"cannot {action} {uri}: {_reason(action, exc, client)}")


def _reason(action: str, exc: BaseException, client: Any) -> str:
    endpoint, code, status = client.meta.endpoint_url, _code(exc), status_of(exc)
    if status in (401, 403) and client.meta.config.signature_version is UNSIGNED:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code in ("AccessDenied", "403"):
        return f"access denied; the credentials need {_PERMISSIONS[action]}"
    if status in (401, 403) or "Token" in code:
        return f"{endpoint} does not accept the credentials ({code}); check or renew them"
    if status >= 500 or status == 429:
        return f"{endpoint} still answers {status} {code} after every retry; check the server"
    if isinstance(exc, ClientError):
        return _words(exc)
    return f"no whole answer from {endpoint} ({_words(exc)}); check the network and the server"


def _code(exc: BaseException) -> str:
    answer: Any = getattr(exc, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _words(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:300]
