"""Admit an HTTP request by its headers, before its body is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from math import isfinite

from starlette.datastructures import Headers
from starlette.requests import Request

from serving.admission import Ticket
from serving.config import UserConfig
from serving.errors import BadRequestError
from serving.http.body import Note
from serving.service import Service

_TIMEOUT_HEADER = "x-request-timeout-seconds"

# Ray Serve's proxy applies the same limit, and answers in plain text: be a little earlier.
_SHARE = 0.95


@asynccontextmanager
async def admit(request: Request, service: Service) -> AsyncIterator[tuple[Ticket, Note]]:
    """Admit one request, and give its ticket and what to call while its body is read.

    Raises:
        BadRequestError: a header is not a number.
        ServiceError: as `Service.admit`.
    """
    size = _declared_size(request.headers, service.limits)
    async with service.admit(size, _client_timeout_s(request.headers)) as ticket:
        yield ticket, partial(service.admission.note_body, ticket)


def _declared_size(headers: Headers, limits: UserConfig) -> int:
    """Return the declared length of the body; undeclared, it counts as the largest allowed."""
    text = headers.get("content-length")
    if text is None:
        return limits.max_body_bytes if "transfer-encoding" in headers else 0
    if not text.isdecimal():
        raise BadRequestError(f"Content-Length {text!r} is not a number of bytes")
    return int(text)


def _client_timeout_s(headers: Headers) -> float | None:
    text = headers.get(_TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds <= 0:
        raise BadRequestError(f"{_TIMEOUT_HEADER} {text!r} is not a number of seconds above 0")
    return seconds * _SHARE
