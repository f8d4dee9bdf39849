"""Middleware of Serve's HTTP proxy: it passes only whole bodies within the limits on to a replica.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it; that must be set where Ray is started, as
`serve run` does. Replicas have the same limits, but here a slow upload takes no place in their
queue, a refusal costs less, and Serve's own errors become JSON.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf

from ray.serve.metrics import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.admission import BODIES_AT_ONCE, check_body_size
from serving.config import UserConfig
from serving.errors import DeadlineError, OverloadedError, ServiceError, to_status

CALLBACK = "serving.http.proxy:build_middlewares"
VARIABLE = "LABELMILL_LIMITS"  # a `UserConfig` as JSON; the proxy does not see the arguments

# Header of a replica's refusal when it had no room even for one image.
FULL = "x-labelmill-full"

_INFERENCE = ("/classify", "/infer")
_LOADING = "/v2/repository/models/"  # has no time limit
_TRIPPED_S = 0.5
_GRACE_S = 1.0  # so that the replica, with the same limit, can answer first
# Instead of Serve's own errors, which are misleading or not meant for callers: status and text.
_INSTEAD = {
    408: (504, "no answer in time"),
    500: (500, "internal error; the request may or may not have been carried out"),
    503: (503, "overloaded; try again later"),
}


def build_middlewares() -> list[Middleware]:
    """Return the middleware that Serve puts around its proxy."""
    limits = UserConfig.model_validate_json(os.environ.get(VARIABLE, "{}"))
    return [Middleware(ProxyMiddleware, limits=limits)]


class ProxyMiddleware:
    """Reads each request's whole body, then passes it on or answers it."""

    def __init__(self, app: ASGIApp, limits: UserConfig) -> None:
        self._app = app
        self._limits = limits
        self._breaker = CircuitBreaker()
        self._held_bytes = 0
        self._answer_s = limits.request_timeout_s + _GRACE_S
        self._refused = Counter(
            "labelmill_refused_requests_total",
            description="Requests that were answered without a replica, by status.",
            tag_keys=("status",),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = _Upload(receive)
        answer = _Answer(send, self._breaker)
        try:
            with self._breaker.guard(scope):
                await self._read(upload, Headers(scope=scope))
                if upload.gone:
                    return
                scope = _with_length(scope, upload.byte_count)
                limit_s = None if _LOADING in scope["path"] else self._answer_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit_s) as timer:
                        await self._app(scope, upload.next, answer.send)
            if answer.status is None and not upload.gone:
                await answer.refuse(*_INSTEAD[408 if timer.expired() else 500])
        except ServiceError as exc:
            await answer.refuse(to_status(exc).http, str(exc), _headers_of(exc))
        except UnicodeDecodeError:  # x-request-id or another one that Serve reads
            await answer.refuse(400, "a header is not UTF-8")
        finally:
            self._held_bytes -= upload.byte_count
            if answer.is_own and answer.status:
                self._refused.inc(tags={"status": str(answer.status)})

    async def _read(self, upload: "_Upload", headers: Headers) -> None:
        declared = headers.get("content-length", "")
        if declared.isdecimal():
            check_body_size(int(declared), self._limits)
        most = BODIES_AT_ONCE * self._limits.max_body_bytes
        limit_s = self._limits.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while (size := await upload.read()) is not None:
                    self._held_bytes += size
                    check_body_size(upload.byte_count, self._limits)
                    if self._held_bytes > most and self._held_bytes > upload.byte_count:
                        raise OverloadedError("too many large requests at once; try again later")
        except TimeoutError as exc:
            raise DeadlineError(f"the body did not arrive within {limit_s:g} s") from exc


class CircuitBreaker:
    """Refuses requests for a moment after the replicas have refused one.

    It passes on no more requests than they had then: any further one would be refused, too.
    """

    def __init__(self) -> None:
        self._running = 0
        self._most: float = inf
        self._tripped_until = 0.0
        self._retry_after_s = 1

    @contextmanager
    def guard(self, scope: Scope) -> Iterator[None]:
        """Count a request for inference while it is being answered; others pass freely.

        Raises:
            OverloadedError: it would be refused.
        """
        if scope["method"] != "POST" or not scope["path"].endswith(_INFERENCE):
            yield
            return
        if self._running >= self._most and time.monotonic() < self._tripped_until:
            raise OverloadedError(_INSTEAD[503][1], self._retry_after_s)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def trip(self, retry_after_s: int) -> None:
        """Note that the replicas refused a request."""
        now = time.monotonic()
        others = max(1, self._running - 1)
        self._most = min(self._most, others) if now < self._tripped_until else others
        self._tripped_until = now + _TRIPPED_S
        self._retry_after_s = retry_after_s


class _Upload:
    """A body that is read first and passed on later."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self._done = False
        self.byte_count = 0
        self.gone = False

    async def read(self) -> int | None:
        """Read one message; return its number of bytes, or None after the last."""
        if self._done:
            return None
        message = await self._fetch()
        self._done = self.gone or not message.get("more_body", False)
        self._messages.append(message)
        size = len(message.get("body", b""))
        self.byte_count += size
        return size

    async def next(self) -> Message:
        return self._messages.popleft() if self._messages else await self._fetch()

    async def _fetch(self) -> Message:
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        return message


class _Answer:
    """Passes answers on, and turns Serve's own plain-text errors into JSON."""

    def __init__(self, send: Send, breaker: CircuitBreaker) -> None:
        self._send = send
        self._breaker = breaker
        self.status: int | None = None
        self.is_own = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            is_json = headers.get("content-type", "").startswith("application/json")
            self.is_own = self.status >= 400 and not is_json
            if headers.get(FULL):
                self._breaker.trip(int(headers["retry-after"]))
                del headers[FULL]
            if self.is_own:
                kept = {key: value for key, value in headers.items() if key == "retry-after"}
                await self.refuse(*_INSTEAD.get(self.status, (self.status, "not found")), kept)
        if not self.is_own:
            await self._send(message)

    async def refuse(self, status: int, text: str, headers: Mapping[str, str] = {}) -> None:
        self.status, self.is_own = status, True
        answer = JSONResponse({"error": text}, status, headers)
        start = {"type": "http.response.start", "status": status, "headers": answer.raw_headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": answer.body})


def _headers_of(exc: ServiceError) -> dict[str, str]:
    if isinstance(exc, OverloadedError):
        return {"retry-after": str(exc.retry_after_s)}
    if isinstance(exc, DeadlineError):
        return {"connection": "close"}  # or it would stay open while bytes trickle in
    return {}


def _with_length(scope: Scope, byte_count: int) -> Scope:
    """Replace Transfer-Encoding, if there is one, by the body's length."""
    headers = MutableHeaders(raw=list(scope["headers"]))
    if "transfer-encoding" in headers:
        del headers["transfer-encoding"]
        headers["content-length"] = str(byte_count)
    return {**scope, "headers": headers.raw}
