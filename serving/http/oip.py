"""The Open Inference Protocol over HTTP, with Triton's extensions."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from serving.config import UserConfig
from serving.control import Control
from serving.errors import BadRequestError, UnimplementedError
from serving.http.body import declared_size, read_body
from serving.http.schemas import ERRORS, INFER_BODY, INFER_RESPONSE
from serving.http.timeout import client_timeout_s
from serving.protocol.http_codec import (
    build_infer_response,
    parse_header_length,
    parse_infer_request,
)
from serving.protocol.metadata import model_config, model_metadata, server_metadata
from serving.service import Service
from serving.version import VERSION

HEADER_LENGTH = "Inference-Header-Content-Length"

_OPTIONS_LIMITS = UserConfig(max_body_bytes=64 * 1024)
_MODEL = "/models/{name}"
_VERSION = "/models/{name}/versions/{version}"


def build_router(service: Service, control: Control) -> APIRouter:
    """Build the routes of the protocol's version 2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=ERRORS)
    _add_health(router, service)
    _add_metadata(router, service, control)
    _add_infer(router, service)
    _add_repository(router, control)
    _add_unimplemented(router)
    return router


def _add_health(router: APIRouter, service: Service) -> None:
    @router.get("/health/live")
    async def live() -> Response:
        """Say that the service runs."""
        return Response()

    @router.get("/health/ready")
    async def ready() -> Response:
        """Say that the service can answer: a replica is routed to once its models are warm."""
        return Response()

    @router.get(_MODEL + "/ready")
    @router.get(_VERSION + "/ready")
    async def model_ready(name: str, version: str = "") -> Response:
        """Say whether a model can answer."""
        service.models.find(name, version)
        return Response()


def _add_metadata(router: APIRouter, service: Service, control: Control) -> None:
    @router.get("")
    async def server() -> Any:
        """Say what runs here."""
        return server_metadata(VERSION)

    @router.get("/models/stats")
    async def all_statistics() -> Any:
        """Return what was asked of all models, by all replicas."""
        return await control.statistics()

    @router.get(_MODEL)
    @router.get(_VERSION)
    async def metadata(name: str, version: str = "") -> Any:
        """Return a model's inputs and outputs."""
        served = service.models.find(name, version)
        return model_metadata(served.config, service.models.versions(name))

    @router.get(_MODEL + "/config")
    @router.get(_VERSION + "/config")
    async def config(name: str, version: str = "") -> Any:
        """Return a model's config.pbtxt."""
        return model_config(service.models.find(name, version).config)

    @router.get(_MODEL + "/stats")
    @router.get(_VERSION + "/stats")
    async def statistics(name: str, version: str = "") -> Any:
        """Return what was asked of a model, by all replicas."""
        return await control.statistics(name, version)


def _add_infer(router: APIRouter, service: Service) -> None:
    documented: dict[str, Any] = {
        "openapi_extra": {"requestBody": INFER_BODY},
        "responses": {200: INFER_RESPONSE},
    }

    @router.post(_MODEL + "/infer", **documented)
    @router.post(_VERSION + "/infer", **documented)
    async def infer(request: Request, name: str, version: str = "") -> Response:
        """Label pixels, or encoded images where the model's name ends in `_image`."""
        service.models.find(name, version)  # before a body is read for nothing
        size = declared_size(request.headers, service.limits)
        header_length = parse_header_length(request.headers.get(HEADER_LENGTH))
        async with service.admit(size, client_timeout_s(request.headers)) as ticket:
            body = await read_body(request, service.limits)
            served = service.models.find(name, version)
            asked = parse_infer_request(body, header_length, served.config.input[0])
            del body
            answer = await service.infer(served, asked, ticket)
        content, json_length = build_infer_response(answer, asked)
        if json_length is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(json_length)}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _add_repository(router: APIRouter, control: Control) -> None:
    @router.post("/repository/index")
    async def index(request: Request) -> Any:
        """List the models of the repository, and which are loaded."""
        options = await _read_options(request)
        return await control.index(ready_only=options.get("ready") is True)

    @router.post("/repository/models/{name}/load")
    async def load(request: Request, name: str) -> Response:
        """Load a model of the repository into all replicas, anew if it is there."""
        options = await _read_options(request)
        await control.load(name, with_parameters=bool(options.get("parameters")))
        return Response()

    @router.post("/repository/models/{name}/unload")
    async def unload(request: Request, name: str) -> Response:
        """Unload a model from all replicas."""
        await _read_options(request)
        await control.unload(name)
        return Response()


def _add_unimplemented(router: APIRouter) -> None:
    async def refuse() -> Response:
        raise UnimplementedError(
            "shared memory, tracing and logging are not to be had over this protocol"
        )

    for path in ("systemsharedmemory", "cudasharedmemory"):
        for middle in ("", "/region/{region}"):
            router.add_api_route(f"/{path}{middle}/status", refuse, include_in_schema=False)
            for verb in ("register", "unregister"):
                router.add_api_route(
                    f"/{path}{middle}/{verb}", refuse, methods=["POST"], include_in_schema=False
                )
    for path in ("/trace/setting", "/logging", "/models/{name}/trace/setting"):
        router.add_api_route(path, refuse, methods=["GET", "POST"], include_in_schema=False)


async def _read_options(request: Request) -> dict[str, Any]:
    try:
        options = json.loads(await read_body(request, _OPTIONS_LIMITS) or b"{}")
    except (ValueError, RecursionError) as exc:
        raise BadRequestError(f"the body is not JSON: {exc}") from exc
    if not isinstance(options, dict):
        raise BadRequestError("the body must be a JSON object")
    return options
