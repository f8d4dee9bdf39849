"""The Open Inference Protocol over HTTP, with Triton's extensions."""

from itertools import product
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ValidationError

from model_repo.inception_v3.errors import describe_problem
from serving.config import UserConfig
from serving.errors import BadRequestError, ContentTooLargeError, UnimplementedError
from serving.http.admit import admit
from serving.http.body import read_body
from serving.http.oip_schemas import (
    INFER_BODY,
    INFER_RESPONSE,
    IndexOptions,
    LoadOptions,
    ModelConfig,
    ModelMetadata,
    ModelName,
    ModelVersion,
    RepositoryModel,
    ServerMetadata,
    StatisticsList,
    describe_options,
)
from serving.http.schemas import describe_errors
from serving.models.registry import Served
from serving.protocol.http_codec import (
    build_infer_response,
    parse_header_length,
    parse_infer_request,
)
from serving.protocol.metadata import SERVER, model_config, model_metadata
from serving.replicas.control import Control
from serving.service import Service

_PREFIX = "/v2"
_TAG = "Open Inference Protocol"

HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_JSON_BYTES = 8 * 1024 * 1024  # parsing them takes half a second, and blocks all other requests
_OPTIONS_LIMITS = UserConfig(max_body_bytes=64 * 1024)


def build_health_router() -> APIRouter:
    """Build the health routes, which need no token."""
    router = APIRouter(prefix=_PREFIX, tags=[_TAG])

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live", response_class=Response)  # the first of both names the methods
    async def live() -> Response:
        """Answer that the service runs."""
        return Response()

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready", response_class=Response)  # the first of both names the methods
    async def ready() -> Response:
        """Answer that the service is ready: Serve routes to a replica once its models are warm."""
        return Response()

    return router


def build_router(service: Service, control: Control) -> APIRouter:
    """Build the protocol's other routes."""
    router = APIRouter(prefix=_PREFIX, tags=[_TAG])
    _add_server(router, control)

    async def find_newest(name: ModelName) -> Served:
        return service.models.find(name)

    async def find_version(name: ModelName, version: ModelVersion) -> Served:
        return service.models.find(name, version)

    path = "/models/{name}"
    for prefix, find in ((path, find_newest), (path + "/versions/{version}", find_version)):
        _add_model(router, prefix, find, service, control)
        _add_infer(router, prefix, find, service)
    _add_repository(router, control)
    _add_unimplemented(router)
    return router


def _add_server(router: APIRouter, control: Control) -> None:
    errors = describe_errors(401)

    @router.get("", response_model=ServerMetadata, responses=errors)
    async def server() -> Any:
        """Describe the server."""
        return SERVER

    @router.get("/models/stats", response_model=StatisticsList, responses=errors)
    async def all_statistics() -> Any:
        """Return the statistics of all models, over all replicas."""
        return await control.statistics()


def _add_model(router: APIRouter, path: str, find: Any, service: Service, control: Control) -> None:
    errors = describe_errors(401, 404)

    @router.get(path, response_model=ModelMetadata, responses=errors)
    async def metadata(served: Annotated[Served, Depends(find)]) -> Any:
        """Return a model's inputs and outputs."""
        return model_metadata(served.config, service.models.versions(served.name))

    @router.get(path + "/ready", response_class=Response, responses=errors)
    async def model_ready(_: Annotated[Served, Depends(find)]) -> Response:
        """Answer whether a model is ready."""
        return Response()

    @router.get(path + "/config", response_model=ModelConfig, responses=errors)
    async def config(served: Annotated[Served, Depends(find)]) -> Any:
        """Return a model's config.pbtxt."""
        return model_config(served.config)

    @router.get(path + "/stats", response_model=StatisticsList, responses=errors)
    async def statistics(served: Annotated[Served, Depends(find)]) -> Any:
        """Return the statistics of a model, over all replicas."""
        return await control.statistics(served.name, served.version)


def _add_infer(router: APIRouter, path: str, find: Any, service: Service) -> None:
    @router.post(
        path + "/infer",
        openapi_extra={"requestBody": INFER_BODY},
        responses={200: INFER_RESPONSE, **describe_errors()},
    )
    async def infer(request: Request, served: Annotated[Served, Depends(find)]) -> Response:
        """Label pixels, or encoded images where the model's name ends in `_image`."""
        header_length = parse_header_length(request.headers.get(HEADER_LENGTH))
        async with admit(request, service) as (ticket, note):
            body = await read_body(request, service.limits, note)
            json_length = len(body) if header_length is None else min(header_length, len(body))
            if json_length > _MAX_JSON_BYTES:
                raise ContentTooLargeError(
                    f"{json_length:,} bytes of JSON exceed the limit of {_MAX_JSON_BYTES:,}; send "
                    f"tensors as binary data behind it ({HEADER_LENGTH})"
                )
            served = service.models.find(served.name, served.version)  # it may be unloaded by now
            asked = parse_infer_request(body, header_length, served.config.input[0])
            del body
            answer = await service.infer(served, asked, ticket)
        content, header_length = build_infer_response(answer, asked)
        if header_length is None:
            return Response(content, media_type="application/json")
        headers = {HEADER_LENGTH: str(header_length)}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _add_repository(router: APIRouter, control: Control) -> None:
    loading: dict[str, Any] = {
        "response_class": Response,
        "responses": describe_errors(400, 401, 404, 413, 415, 501),
        "openapi_extra": describe_options(LoadOptions),
    }

    @router.post(
        "/repository/index",
        response_model=list[RepositoryModel],
        responses=describe_errors(400, 401, 413, 415),
        openapi_extra=describe_options(IndexOptions),
    )
    async def index(request: Request) -> Any:
        """List the models of the repository, and which of them are loaded."""
        options = await _read_options(request, IndexOptions)
        return await control.index(ready_only=options.ready)

    @router.post("/repository/models/{name}/load", **loading)
    async def load(request: Request, name: ModelName) -> Response:
        """Load or reload a model of the repository in all replicas."""
        options = await _read_options(request, LoadOptions)
        await control.load(name, with_parameters=bool(options.parameters))
        return Response()

    @router.post("/repository/models/{name}/unload", **loading)
    async def unload(request: Request, name: ModelName) -> Response:
        """Unload a model from all replicas."""
        await _read_options(request, LoadOptions)
        await control.unload(name)
        return Response()


def _add_unimplemented(router: APIRouter) -> None:
    async def refuse() -> Response:
        raise UnimplementedError("shared memory, tracing and logging are not supported")

    def add(path: str, *methods: str) -> None:
        router.add_api_route(path, refuse, methods=list(methods), include_in_schema=False)

    for kind, region in product(("system", "cuda"), ("", "/region/{region}")):
        memory = f"/{kind}sharedmemory{region}"
        add(memory + "/status", "GET")
        add(memory + "/register", "POST")
        add(memory + "/unregister", "POST")
    for path in ("/trace/setting", "/logging", "/models/{name}/trace/setting"):
        add(path, "GET", "POST")


async def _read_options(request: Request, options: type[BaseModel]) -> Any:
    body = await read_body(request, _OPTIONS_LIMITS)
    try:
        return options.model_validate_json(body or b"{}")
    except ValidationError as exc:
        problem = exc.errors()[0]
        name = ".".join(map(str, problem["loc"])) or "the body"
        raise BadRequestError(describe_problem(name, problem)) from exc
