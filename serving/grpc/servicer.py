"""Which methods the gRPC proxy forwards: named in Serve's `grpc_servicer_functions`."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2

_SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = tuple(method.name for method in _SERVICE.methods)

# Bytes go through as they are: the proxy would have to pickle messages, and these cannot be.
_FORWARDED = grpc.unary_unary_rpc_method_handler(None)
_STREAMED = grpc.stream_stream_rpc_method_handler(None)


def add_inference_service(_: Any, server: Any) -> None:
    """Tell Serve's gRPC proxy the protocol's methods; it replaces the handlers with its own."""
    handlers = {
        method.name: _STREAMED if method.client_streaming else _FORWARDED
        for method in _SERVICE.methods
    }
    generic = grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))
