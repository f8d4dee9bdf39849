"""The 20 methods of `inference.GRPCInferenceService`, each named as the protocol names it."""

import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError as DamagedMessage
from ray.serve.grpc_util import RayServegRPCContext
from tritonclient.grpc import service_pb2 as pb

from serving.auth import authorize
from serving.errors import (
    BadRequestError,
    NotFoundError,
    ServiceError,
    UnimplementedError,
    to_message,
    to_status,
)
from serving.grpc.peers import check_peer
from serving.protocol.grpc_codec import build_infer_response, parse_infer_request
from serving.protocol.metadata import SERVER, model_metadata
from serving.replicas.control import Control
from serving.service import Service
from serving.telemetry.access_log import CLIENT_GONE, log_access

logger = logging.getLogger("ray.serve")

Context = RayServegRPCContext
_Handler = Callable[["GrpcMethods", Any], Awaitable[Any]]


def _method(*, open_to_all: bool = False, parsed: bool = True) -> Callable[[_Handler], Any]:
    """Turn a handler of messages into a method that Serve calls with bytes and a context."""

    def decorate(handler: _Handler) -> Any:
        name = handler.__name__
        request_type, answer_type = getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response")

        async def method(self: "GrpcMethods", data: bytes, grpc_context: Context) -> Any:
            status, started = CLIENT_GONE, time.monotonic()
            try:
                check_peer(grpc_context.peer(), self.service.config.host)
                if not open_to_all:
                    self._authorize(grpc_context)
                answer = await handler(self, _parse(request_type, data) if parsed else data)
                status = 200
                return answer
            except Exception as exc:
                status = _set_status(grpc_context, exc)
                return answer_type()
            finally:
                self._note(name, status, started)

        method.__name__, method.__doc__ = name, handler.__doc__
        return method

    return decorate


def _unimplemented(name: str) -> Any:
    async def handler(self: "GrpcMethods", _: Any) -> Any:
        raise UnimplementedError(f"labelmill does not support {name}")

    handler.__name__ = name
    handler.__doc__ = "Answer that this part of the protocol is not supported."
    return _method(parsed=False)(handler)


class GrpcMethods:
    """The methods; a subclass sets `service` and `control`."""

    service: Service
    control: Control

    @_method(open_to_all=True)
    async def ServerLive(self, _: Any) -> Any:
        """Answer that the service runs."""
        return pb.ServerLiveResponse(live=True)

    @_method(open_to_all=True)
    async def ServerReady(self, _: Any) -> Any:
        """Answer that the service is ready: Serve routes to a replica once its models are warm."""
        return pb.ServerReadyResponse(ready=True)

    @_method()
    async def ModelReady(self, request: Any) -> Any:
        """Answer whether a model is ready."""
        ready = False
        with suppress(NotFoundError):  # as Triton: over gRPC not an error
            self.service.models.find(request.name, request.version)
            ready = True
        return pb.ModelReadyResponse(ready=ready)

    @_method()
    async def ServerMetadata(self, _: Any) -> Any:
        """Describe the server."""
        return pb.ServerMetadataResponse(**SERVER)

    @_method()
    async def ModelMetadata(self, request: Any) -> Any:
        """Return a model's inputs and outputs."""
        models = self.service.models
        served = models.find(request.name, request.version)
        metadata = model_metadata(served.config, models.versions(request.name))
        return pb.ModelMetadataResponse(**metadata)

    @_method()
    async def ModelConfig(self, request: Any) -> Any:
        """Return a model's config.pbtxt."""
        config = self.service.models.find(request.name, request.version).config
        return pb.ModelConfigResponse(config=config)

    @_method()
    async def ModelStatistics(self, request: Any) -> Any:
        """Return the statistics of one model, or of all, over all replicas."""
        statistics = await self.control.statistics(request.name, request.version)
        return ParseDict(statistics, pb.ModelStatisticsResponse())

    @_method()
    async def RepositoryIndex(self, request: Any) -> Any:
        """List the models of the repository, and which of them are loaded."""
        models = await self.control.index(ready_only=request.ready)
        return ParseDict({"models": models}, pb.RepositoryIndexResponse())

    @_method()
    async def RepositoryModelLoad(self, request: Any) -> Any:
        """Load or reload a model of the repository in all replicas."""
        await self.control.load(request.model_name, with_parameters=bool(request.parameters))
        return pb.RepositoryModelLoadResponse()

    @_method()
    async def RepositoryModelUnload(self, request: Any) -> Any:
        """Unload a model from all replicas."""
        await self.control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    @_method(parsed=False)
    async def ModelInfer(self, data: bytes) -> Any:
        """Label pixels, or encoded images where the model's name ends in `_image`."""
        return await self._infer(data)

    async def ModelStreamInfer(
        self, requests: AsyncIterable[bytes], grpc_context: Context
    ) -> AsyncIterator[Any]:
        """Answer a stream of requests in order; a bad one gets an error message of its own."""
        started = time.monotonic()
        try:
            check_peer(grpc_context.peer(), self.service.config.host)
            self._authorize(grpc_context)
        except ServiceError as exc:
            self._note("ModelStreamInfer", _set_status(grpc_context, exc), started)
            yield pb.ModelStreamInferResponse(error_message=to_message(exc))  # carries the status
            return
        async for data in requests:
            status, started = CLIENT_GONE, time.monotonic()
            answer = pb.ModelStreamInferResponse()
            try:
                answer.infer_response.CopyFrom(await self._infer(data))
                status = 200
            except Exception as exc:
                status = _to_http_status(exc)
                answer.error_message = to_message(exc)
                answer.infer_response.id = _id_of(data)
            finally:
                self._note("ModelStreamInfer", status, started)
            yield answer

    SystemSharedMemoryStatus = _unimplemented("SystemSharedMemoryStatus")
    SystemSharedMemoryRegister = _unimplemented("SystemSharedMemoryRegister")
    SystemSharedMemoryUnregister = _unimplemented("SystemSharedMemoryUnregister")
    CudaSharedMemoryStatus = _unimplemented("CudaSharedMemoryStatus")
    CudaSharedMemoryRegister = _unimplemented("CudaSharedMemoryRegister")
    CudaSharedMemoryUnregister = _unimplemented("CudaSharedMemoryUnregister")
    TraceSetting = _unimplemented("TraceSetting")
    LogSettings = _unimplemented("LogSettings")

    def _authorize(self, context: Context) -> None:
        metadata = dict(context.invocation_metadata())
        authorize(metadata.get("authorization"), self.service.config.token_hashes)

    def _note(self, method: str, status: int, started: float) -> None:
        self.service.metrics.count_request("grpc", status)
        log_access("grpc", "POST", method, status, time.monotonic() - started)

    async def _infer(self, data: bytes) -> Any:
        async with self.service.admit(len(data), None) as ticket:
            request = _parse(pb.ModelInferRequest, data)
            served = self.service.models.find(request.model_name, request.model_version)
            answer = await self.service.infer(served, parse_infer_request(request), ticket)
        return build_infer_response(answer)


def _parse(request_type: Any, data: bytes) -> Any:
    try:
        return request_type.FromString(data)
    except DamagedMessage as exc:
        raise BadRequestError(f"the message is not a {request_type.DESCRIPTOR.name}") from exc


def _id_of(data: bytes) -> str:
    with suppress(DamagedMessage):
        return str(pb.ModelInferRequest.FromString(data).id)
    return ""


def _set_status(context: Context, exc: Exception) -> int:
    context.set_code(to_status(exc).grpc)
    context.set_details(to_message(exc))
    return _to_http_status(exc)


def _to_http_status(exc: Exception) -> int:
    status = to_status(exc).http
    if status == 500:
        logger.error("a request failed", exc_info=exc)
    return status
