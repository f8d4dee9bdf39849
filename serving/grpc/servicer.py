"""The methods that Serve's gRPC proxy forwards; `grpc_servicer_functions` names this."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2

_SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = tuple(method.name for method in _SERVICE.methods)

# Bytes pass unparsed: the proxy would pickle messages, and these cannot be pickled.
_FORWARDED = grpc.unary_unary_rpc_method_handler(None)
_STREAMED = grpc.stream_stream_rpc_method_handler(None)


def add_inference_service(_: Any, server: Any) -> None:
    """Register the protocol's methods; Serve's gRPC proxy replaces the handlers with its own."""
    handlers = {
        method.name: _STREAMED if method.client_streaming else _FORWARDED
        for method in _SERVICE.methods
    }
    generic = grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers)
    server.add_generic_rpc_handlers((generic,))
