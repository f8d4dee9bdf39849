"""What the Open Inference Protocol answers to what is wrong, and its methods one by one."""

import json
import socket

import grpc
import httpx
import pytest
from grpc import StatusCode
from PIL import Image
from tritonclient.grpc import service_pb2 as pb

from serving.grpc.servicer import METHODS
from tests.support.images import encode

pytestmark = pytest.mark.ray

INFER = "/v2/models/inception_v3_image/infer"
HUGE = encode(Image.new("1", (8000, 8000)), "PNG")  # few bytes, too many pixels


def _image(data="aGVsbG8=", **changes):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [data]}
    return json.dumps({"inputs": [tensor | changes]})


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "word"),
    [
        (INFER, "{", {}, 400, "JSON"),
        (INFER, "[" * 100_000, {}, 400, "JSON"),
        (INFER, "", {}, 400, "JSON"),
        (INFER, '{"inputs": []}', {}, 400, "0 inputs"),
        (INFER, _image(shape=[2, 1]), {}, 400, "shape"),
        (INFER, _image(shape=[1, 3, 299, 299]), {}, 400, "shape"),
        (INFER, _image(datatype="INT8", data=[1]), {}, 400, "INT8"),
        (INFER, _image(datatype="NOPE"), {}, 400, "NOPE"),
        (INFER, _image(name="other"), {}, 400, "other"),
        (INFER, _image("#"), {}, 400, "base64"),
        (INFER, _image(), {"Inference-Header-Content-Length": "-1"}, 400, "Inference-Header"),
        (INFER, _image(), {"Inference-Header-Content-Length": "9999"}, 400, "9999"),
        (INFER, _image(), {"Content-Encoding": "br"}, 415, "br"),
        (INFER, _image(), {"Content-Encoding": "gzip"}, 400, "gzip"),
        (INFER, _image(), {"x-request-timeout-seconds": "soon"}, 400, "soon"),
        (INFER, _image(), {}, 422, "not an image"),
        (INFER, HUGE, {"Inference-Header-Content-Length": "0"}, 413, "pixels"),
        (INFER, _image(parameters={"shared_memory_region": "x"}), {}, 501, "shared memory"),
        ("/v2/models/nope/infer", _image(), {}, 404, "nope"),
        ("/v2/models/inception_v3_image/versions/2/infer", _image(), {}, 404, "'2'"),
        ("/v2/nothing", "", {}, 404, "not found"),
        ("/v2/models/inception_v3", "", {}, 405, "method"),
        ("/v2/repository/index", "[]", {}, 400, "the body"),
        ("/v2/repository/index", '{"ready": "yes"}', {}, 400, "ready"),
        ("/v2/repository/models/nope/load", "", {}, 404, "nope"),
        ("/v2/repository/models/nope/unload", "", {}, 404, "nope"),
        ("/v2/repository/models/inception_v3/load", '{"parameters": {"a": 1}}', {}, 501, "param"),
        ("/v2/systemsharedmemory/region/x/register", "{}", {}, 501, "shared memory"),
        ("/v2/trace/setting", "{}", {}, 501, "tracing"),
        ("/v2/logging", "{}", {}, 501, "logging"),
    ],
)
def test_wrong_request_is_refused_in_words_and_in_json(service, path, body, headers, status, word):
    answer = httpx.post(service.url + path, content=body, headers=headers, timeout=60)

    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert word in answer.json()["error"]


# What each method answers to an empty message.
ANSWERS = dict.fromkeys(METHODS, StatusCode.UNIMPLEMENTED) | {
    "ServerLive": StatusCode.OK,
    "ServerReady": StatusCode.OK,
    "ModelReady": StatusCode.OK,
    "ServerMetadata": StatusCode.OK,
    "ModelMetadata": StatusCode.NOT_FOUND,
    "ModelConfig": StatusCode.NOT_FOUND,
    "ModelStatistics": StatusCode.OK,
    "ModelInfer": StatusCode.NOT_FOUND,
    "ModelStreamInfer": StatusCode.OK,
    "RepositoryIndex": StatusCode.OK,
    "RepositoryModelLoad": StatusCode.NOT_FOUND,
    "RepositoryModelUnload": StatusCode.NOT_FOUND,
}


def _call(service, method, message, address=None):
    """Return the code and the details or, of a success, the answer's bytes."""
    path = f"/inference.GRPCInferenceService/{method}"
    with grpc.insecure_channel(address or service.grpc) as channel:
        try:
            if method == "ModelStreamInfer":
                return StatusCode.OK, b"".join(channel.stream_stream(path)(iter([message])))
            return StatusCode.OK, channel.unary_unary(path)(message, timeout=60)
        except grpc.RpcError as exc:
            return exc.code(), exc.details()


def test_there_are_twenty_methods():
    assert len(ANSWERS) == len(METHODS) == 20


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers(service, method):
    code, answer = _call(service, method, b"")

    assert code is ANSWERS[method], answer
    if method == "ModelStreamInfer":
        assert "unknown model" in pb.ModelStreamInferResponse.FromString(answer).error_message


@pytest.mark.parametrize("method", [name for name in METHODS if "SharedMemory" not in name])
def test_damaged_message_is_no_internal_error(service, method):
    code, _ = _call(service, method, b"\xff\xff\xff")

    assert code in {StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED, StatusCode.OK}
    assert (code is StatusCode.OK) == (method == "ModelStreamInfer")


def _infer(data=b"no image", shape=(1, 1), name="image", datatype="BYTES", **parameters):
    request = pb.ModelInferRequest(model_name="inception_v3_image")
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    for key, value in parameters.items():
        tensor.parameters[key].string_param = value
    request.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("message", "code", "word"),
    [
        (_infer(), StatusCode.INVALID_ARGUMENT, "not an image"),
        (_infer(HUGE), StatusCode.INVALID_ARGUMENT, "pixels"),
        (_infer(shape=(0, 1)), StatusCode.INVALID_ARGUMENT, "shape"),
        (_infer(name="other"), StatusCode.INVALID_ARGUMENT, "other"),
        (_infer(datatype="FP32"), StatusCode.INVALID_ARGUMENT, "FP32"),
        (_infer(shared_memory_region="x"), StatusCode.UNIMPLEMENTED, "shared memory"),
    ],
)
def test_wrong_call_is_refused_in_words(service, message, code, word):
    found, details = _call(service, "ModelInfer", message)

    assert found is code
    assert word in details


@pytest.mark.parametrize("method", ["ServerLive", "ModelMetadata", "ModelStreamInfer"])
def test_grpc_answers_this_machine_only(service, method):
    own = _own_address()
    port = service.grpc.rpartition(":")[2]

    code, details = _call(service, method, b"", f"{own}:{port}")

    assert code is StatusCode.PERMISSION_DENIED
    assert "host=0.0.0.0" in details


def _own_address():
    """Return an address of this machine that others could ask; skip where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return probe.getsockname()[0]
