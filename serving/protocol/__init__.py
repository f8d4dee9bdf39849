"""The Open Inference Protocol (KServe V2, as Triton speaks it) as pure functions.

    HTTP body ─ http_codec ─┐                                        ┌─ http_codec ─ HTTP body
                            ├─ InferRequest ─ inputs → model → outputs ─ InferResponse
    gRPC message ─ grpc_codec ┘                                      └─ grpc_codec ─ gRPC message

Nothing here knows Ray, a web framework or a socket.
"""
