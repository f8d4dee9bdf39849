"""HTTP bodies ↔ requests and answers: JSON, followed by Triton's binary tensors."""

import json
import math
from typing import Any

from tritonclient.grpc import model_config_pb2

from serving.errors import BadRequestError
from serving.protocol.parameters import (
    check_request_parameters,
    read_flag,
    read_size,
    refuse_shared_memory,
)
from serving.protocol.tensor_data import read_json_data, read_raw, write_json_data, write_raw
from serving.protocol.tensors import (
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    check_datatype,
    check_names,
    check_shape,
    quote,
)

# An empty array takes twenty times as much memory as its JSON. The pixels of 32 images, with an
# array for each row, need a ninth of these.
_MAX_CONTAINERS = 2**18

_WORDS: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}


def parse_header_length(text: str | None) -> int | None:
    """Read the header `Inference-Header-Content-Length`, if there is one.

    Raises:
        BadRequestError: it is not a whole number from 0.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise BadRequestError(
            f"Inference-Header-Content-Length is {quote(text)}; expected the length of the JSON, "
            "in bytes"
        )
    return int(text)


def parse_infer_request(
    body: bytes, header_length: int | None, raw_input: model_config_pb2.ModelInput
) -> InferRequest:
    """Read the body of a call of `infer`.

    Args:
        body: JSON, JSON followed by binary tensors, or a single tensor.
        header_length: length of the JSON, bytes. None: all of the body is JSON. 0: none of it is;
            the body is the data of the model's one input.
        raw_input: that input.

    Raises:
        BadRequestError: the body does not follow the protocol.
        UnimplementedError: it asks for shared memory.
    """
    if header_length == 0:
        return _read_raw_request(body, raw_input)
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise BadRequestError(
            f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes"
        )
    request = _parse_json(body, length)
    parameters = check_request_parameters(_parameters("the request", request))
    binary_data_output = read_flag("the request", parameters, "binary_data_output", False)
    return InferRequest(
        id=_member("the request", request, "id", str) if "id" in request else "",
        inputs=_read_inputs(request, memoryview(body)[length:]),
        outputs=_read_outputs(request, binary_data_output),
        parameters=parameters,
        binary_data_output=binary_data_output,
    )


def build_infer_response(
    response: InferResponse, request: InferRequest
) -> tuple[bytes, int | None]:
    """Build the body of the answer to `request`.

    Returns:
        The body, and the length of its JSON if binary tensors follow, else None.
    """
    binary = {output.name: output.binary for output in request.outputs}
    outputs: list[dict[str, object]] = []
    contents: list[bytes] = []
    for tensor in response.outputs:
        output: dict[str, object] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if binary.get(tensor.name, request.binary_data_output):
            contents.append(write_raw(tensor))
            output["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            output["data"] = write_json_data(tensor)
        outputs.append(output)
    answer: dict[str, object] = {"id": response.id} if response.id else {}
    answer |= {"model_name": response.model_name, "model_version": response.model_version}
    answer["outputs"] = outputs
    header = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    return (b"".join([header, *contents]), len(header)) if contents else (header, None)


def _read_raw_request(body: bytes, raw_input: model_config_pb2.ModelInput) -> InferRequest:
    """Read `body` as `raw_input`: one image, or the pixels of several; the answer is binary."""
    if raw_input.data_type == model_config_pb2.TYPE_STRING:
        if not body:
            raise BadRequestError("the body is empty; expected the bytes of an image")
        tensor = Tensor(raw_input.name, "BYTES", (1, *raw_input.dims), [body])
    else:
        size = math.prod(raw_input.dims)  # pixels are UINT8
        batch, rest = divmod(len(body), size)
        if rest or not batch:
            raise BadRequestError(
                f"the body has {len(body)} bytes; expected {size} for each image of input "
                f"{raw_input.name!r}, UINT8 {list(raw_input.dims)}"
            )
        tensor = read_raw(raw_input.name, "UINT8", (batch, *raw_input.dims), memoryview(body))
    return InferRequest(inputs=(tensor,), binary_data_output=True)


def _parse_json(body: bytes, length: int) -> dict[str, Any]:
    if body.count(b"[", 0, length) + body.count(b"{", 0, length) > _MAX_CONTAINERS:
        raise BadRequestError(
            f"the request's JSON has more than {_MAX_CONTAINERS} arrays and objects; send flat or "
            "binary data"
        )
    try:
        # Decoded here, since json would take UTF-16 as well.
        text = str(memoryview(body)[:length], "utf-8")
        request = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as exc:
        raise BadRequestError("the request's JSON is nested too deep") from exc
    except UnicodeDecodeError as exc:
        raise BadRequestError(
            f"the request's JSON is not UTF-8 at byte {exc.start}; where binary tensors follow "
            "it, Inference-Header-Content-Length must give its length"
        ) from exc
    except ValueError as exc:
        raise BadRequestError(f"the request is not valid JSON: {exc}") from exc
    given: dict[str, Any] = _expect("the request", request, dict)
    return given


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _read_inputs(request: dict[str, Any], content: memoryview) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    for number, given in enumerate(_member("the request", request, "inputs", list)):
        tensor, taken = _read_input(_expect(f"input number {number}", given, dict), content)
        tensors.append(tensor)
        content = content[taken:]
    if content:
        raise BadRequestError(
            f"the body has {len(content)} bytes after its last tensor; their sizes and "
            "Inference-Header-Content-Length must add up to its length"
        )
    return check_names(tensors)


def _read_input(given: dict[str, Any], content: memoryview) -> tuple[Tensor, int]:
    """Return a tensor, and how many bytes of `content` it took."""
    name: str = _member("an input", given, "name", str)
    owner = f"input {quote(name)}"
    datatype = check_datatype(name, _member(owner, given, "datatype", str))
    shape = check_shape(name, _member(owner, given, "shape", list))
    parameters = _parameters(owner, given)
    refuse_shared_memory(owner, parameters)
    size = read_size(owner, parameters, "binary_data_size")
    if (size is None) == ("data" not in given):
        both = "neither 'data' nor" if size is None else "both 'data' and"
        raise BadRequestError(f"{owner} has {both} the parameter 'binary_data_size'; expected one")
    if size is None:
        data = read_json_data(name, datatype, shape, _member(owner, given, "data", list))
        return Tensor(name, datatype, shape, data), 0
    if size > len(content):
        raise BadRequestError(
            f"{owner} has a binary_data_size of {size}, but only {len(content)} bytes are left "
            "after the JSON; Inference-Header-Content-Length must give the JSON's length"
        )
    return read_raw(name, datatype, shape, content[:size]), size


def _read_outputs(request: dict[str, Any], default: bool) -> tuple[RequestedOutput, ...]:
    found: dict[str, RequestedOutput] = {}
    given = _member("the request", request, "outputs", list) if "outputs" in request else []
    for number, output in enumerate(given):
        owner = f"output number {number}"
        name: str = _member(owner, _expect(owner, output, dict), "name", str)
        owner = f"output {quote(name)}"
        parameters = _parameters(owner, output)
        refuse_shared_memory(owner, parameters)
        binary = read_flag(owner, parameters, "binary_data", default)
        classes = read_size(owner, parameters, "classification") or 0
        found.setdefault(name, RequestedOutput(name, binary, classes))  # the first counts
    return tuple(found.values())


def _parameters(owner: str, given: dict[str, Any]) -> dict[str, Any]:
    parameters = given.get("parameters")
    return {} if parameters is None else _expect(f"'parameters' of {owner}", parameters, dict)


def _member(owner: str, given: dict[str, Any], name: str, kind: type) -> Any:
    if name not in given:
        raise BadRequestError(f"{owner} has no {name!r}")
    return _expect(f"{name!r} of {owner}", given[name], kind)


def _expect(what: str, value: object, kind: type) -> Any:
    if not isinstance(value, kind):
        raise BadRequestError(f"{what} is {quote(value)}; expected {_WORDS[kind]}")
    return value
