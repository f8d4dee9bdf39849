"""gRPC messages ↔ requests and answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from serving.errors import BadRequestError
from serving.protocol.parameters import check_request_parameters, read_size, refuse_shared_memory
from serving.protocol.tensor_data import read_raw, write_raw
from serving.protocol.tensors import (
    NUMPY_TYPES,
    InferRequest,
    InferResponse,
    Parameter,
    RequestedOutput,
    Tensor,
    check_count,
    check_datatype,
    check_names,
    check_shape,
    quote,
)

# The field of InferTensorContents for each datatype; FP16 is sent raw only.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# Streaming clients send this; the one answer to each request is final anyway.
_ALLOWED = ("triton_enable_empty_final_response",)


def parse_infer_request(message: service_pb2.ModelInferRequest) -> InferRequest:
    """Read a call of `ModelInfer`.

    Raises:
        BadRequestError: the message does not follow the protocol.
        UnimplementedError: it asks for shared memory.
    """
    parameters = _read_parameters("the request", message.parameters)
    return InferRequest(
        id=message.id,
        inputs=_read_inputs(message),
        outputs=_read_outputs(message),
        parameters=check_request_parameters(parameters, _ALLOWED),
        binary_data_output=True,
    )


def build_infer_response(response: InferResponse) -> service_pb2.ModelInferResponse:
    """Build the answer to a call of `ModelInfer`; its outputs are raw."""
    message = service_pb2.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(write_raw(tensor))
    return message


def _read_inputs(message: service_pb2.ModelInferRequest) -> tuple[Tensor, ...]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadRequestError(
            f"the request has {len(message.inputs)} inputs, but {len(raw)} raw_input_contents"
        )
    tensors = []
    for index, given in enumerate(message.inputs):
        owner = f"input {quote(given.name)}"
        refuse_shared_memory(owner, given.parameters)
        check_datatype(given.name, given.datatype)
        shape = check_shape(given.name, given.shape)
        if raw and given.HasField("contents"):
            raise BadRequestError(
                f"{owner} has contents, but the request has raw_input_contents; "
                "expected one of the two for all inputs"
            )
        if raw:
            tensors.append(read_raw(given.name, given.datatype, shape, memoryview(raw[index])))
        elif given.HasField("contents"):
            tensors.append(_read_contents(given, shape))
        else:
            raise BadRequestError(f"{owner} has no data; send contents or raw_input_contents")
    return check_names(tensors)


def _read_contents(given: Any, shape: tuple[int, ...]) -> Tensor:
    name, datatype = given.name, given.datatype
    owner = f"input {quote(name)} of datatype {datatype}"
    expected = _CONTENTS.get(datatype)
    if expected is None:
        raise BadRequestError(f"{owner} cannot have contents; send raw_input_contents")
    for field, _ in given.contents.ListFields():
        if field.name != expected:
            raise BadRequestError(f"{owner} has {field.name}; expected {expected}")
    elements = getattr(given.contents, expected)
    check_count(name, shape, len(elements))
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, list(elements))
    dtype = NUMPY_TYPES[datatype]
    if dtype.kind in "iu" and dtype.itemsize < 4:  # they are sent as 32 bits
        limits = np.iinfo(dtype)
        wide = np.fromiter(elements, np.int64, len(elements))
        if wide.min() < limits.min or wide.max() > limits.max:
            raise BadRequestError(
                f"input {quote(name)} has contents from {wide.min()} to {wide.max()}; "
                f"{datatype} takes {limits.min} to {limits.max}"
            )
        elements = wide
    return Tensor(name, datatype, shape, np.fromiter(elements, dtype, len(elements)).reshape(shape))


def _read_outputs(message: service_pb2.ModelInferRequest) -> tuple[RequestedOutput, ...]:
    found: dict[str, RequestedOutput] = {}
    for given in message.outputs:
        owner = f"output {quote(given.name)}"
        parameters = _read_parameters(owner, given.parameters)
        refuse_shared_memory(owner, parameters)
        classes = read_size(owner, parameters, "classification")
        if classes == 0:  # over HTTP it means none; here Triton refuses it
            raise BadRequestError(f"parameter 'classification' of {owner} is 0; expected from 1")
        found.setdefault(given.name, RequestedOutput(given.name, True, classes or 0))
    return tuple(found.values())


def _read_parameters(owner: str, parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise BadRequestError(f"parameter {quote(name)} of {owner} has no value")
        found[name] = getattr(parameter, kind)
    return found
