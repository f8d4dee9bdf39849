"""The ASGI application of one replica: the routes, and errors as JSON."""

import time
from typing import Any

from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_repo.inception_v3 import DecodeError
from model_repo.inception_v3.errors import describe_problem
from serving.auth import authorize
from serving.errors import OverloadedError, ServiceError, UnauthorizedError, to_message, to_status
from serving.http import classify, oip, pages
from serving.http.proxy import FULL
from serving.http.schemas import DESCRIPTION
from serving.replicas.control import Control
from serving.service import Service
from serving.telemetry.access_log import CLIENT_GONE, log_access

# Open to all: health, and the pages, which hold no data and ask for a token themselves.
_OPEN_PATHS = ("/v2/health/live", "/v2/health/ready", "/", "/docs", "/openapi.json")
_OPEN_PREFIX = "/page/"
_ERRORS = (ServiceError, DecodeError, RequestValidationError, HTTPException, Exception)


def build_http_app(service: Service, control: Control) -> FastAPI:
    """Build the application that answers one replica's HTTP requests."""
    app = _Described(
        title="labelmill",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        exception_handlers=dict.fromkeys(_ERRORS, _answer_error),
    )
    # Shows tokens in /docs; `_AccessMiddleware` checks them.
    security = [Security(HTTPBearer(auto_error=False))] if service.config.token_hashes else []
    app.include_router(classify.build_router(service), dependencies=security)
    app.include_router(oip.build_router(service, control), dependencies=security)
    app.include_router(oip.build_health_router())
    pages.add_pages(app)
    app.add_middleware(_AccessMiddleware, service=service)
    return app


class _Described(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the routes without FastAPI's standard answer to bad requests; ours differs."""
        description = super().openapi()
        for operations in description["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            description["components"]["schemas"].pop(name, None)
        return description


class _AccessMiddleware:
    """Checks the token, then counts and logs how each request ended."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._hashes = service.config.token_hashes
        self._metrics = service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.monotonic()
        try:
            await self._answer_to(scope)(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.count_request("http", status)
            log_access("http", scope["method"], scope["path"], status, time.monotonic() - started)

    def _answer_to(self, scope: Scope) -> ASGIApp:
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX):
            return self._app
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        try:
            authorize(header, self._hashes)
        except UnauthorizedError as exc:
            return _error_response(exc)
        return self._app


def _error_response(exc: Exception) -> JSONResponse:
    headers = {}
    if isinstance(exc, OverloadedError):
        headers["Retry-After"] = str(exc.retry_after_s)
        if exc.full:
            headers[FULL] = "1"
    if isinstance(exc, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": to_message(exc)}, to_status(exc).http, headers)


async def _answer_error(_: Request, exc: Exception) -> Response:
    if isinstance(exc, HTTPException):
        return JSONResponse({"error": exc.detail.lower()}, exc.status_code, exc.headers)
    if isinstance(exc, RequestValidationError):
        problem = exc.errors()[0]
        name = ".".join(map(str, problem["loc"][1:]))
        return JSONResponse({"error": describe_problem(name, problem)}, 400)
    return _error_response(exc)
