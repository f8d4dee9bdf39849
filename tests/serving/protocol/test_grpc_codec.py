import numpy as np
import pytest
import tritonclient.grpc as client
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import triton_to_np_dtype

from serving.errors import BadRequestError, UnimplementedError
from serving.protocol.grpc_codec import build_infer_response, parse_infer_request
from serving.protocol.tensors import InferResponse, RequestedOutput, Tensor

CONTENTS = {
    "BOOL": ("bool_contents", [True, False]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "FP32": ("fp32_contents", [0.5, -1e10]),
    "FP64": ("fp64_contents", [1 / 3, -1e300]),
    "BYTES": ("bytes_contents", [b"\xff\xd8", b""]),
}


def message(datatype: str = "BYTES", shape: tuple = (1, 1), raw: bytes | None = None, **contents):
    """A request with one input, `x`."""
    request = service_pb2.ModelInferRequest(model_name="m")
    given = request.inputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(given.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


def with_output(**parameters) -> service_pb2.ModelInferRequest:
    request = message(bytes_contents=[b"x"])
    output = request.outputs.add(name="a")
    for kind, value in parameters.items():
        setattr(output.parameters["classification"], kind, value)
    return request


def sent_by_client(*inputs, outputs=None, **changes) -> service_pb2.ModelInferRequest:
    """What tritonclient makes of a call of `infer`, through the wire."""
    arguments = {
        "model_version": "",
        "request_id": "",
        "sequence_id": 0,
        "sequence_start": False,
        "sequence_end": False,
        "priority": 0,
        "timeout": None,
        "parameters": None,
    }
    request = _get_inference_request(
        model_name="m", inputs=inputs, outputs=outputs, **(arguments | changes)
    )
    return service_pb2.ModelInferRequest.FromString(request.SerializeToString())


def client_input(name: str, datatype: str, array: np.ndarray) -> client.InferInput:
    given = client.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", [name for name in CONTENTS if name != "BYTES"] + ["FP16"])
def test_every_datatype_of_tritonclient_arrives_as_it_left(datatype):
    array = np.arange(6).reshape(2, 3).astype(triton_to_np_dtype(datatype))

    (tensor,) = parse_infer_request(sent_by_client(client_input("x", datatype, array))).inputs

    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", datatype, (2, 3))
    assert tensor.data.dtype == array.dtype
    np.testing.assert_array_equal(tensor.data, array)


def test_images_of_tritonclient_arrive_as_they_left():
    images = np.array([[b"\xff\xd8 one"], [b"two"]], object)

    (tensor,) = parse_infer_request(sent_by_client(client_input("x", "BYTES", images))).inputs

    assert (tensor.shape, tensor.data) == ((2, 1), [b"\xff\xd8 one", b"two"])


def test_everything_else_of_tritonclient_arrives_too():
    given = client_input("x", "BYTES", np.array([[b"x"]], object))
    outputs = [client.InferRequestedOutput("a", class_count=3), client.InferRequestedOutput("b")]

    request = parse_infer_request(
        sent_by_client(
            given,
            outputs=outputs,
            request_id="seven",
            sequence_id="five",
            priority=2,
            timeout=2500000,
            parameters={"mine": "yes", "half": 0.5},
        )
    )

    assert request.id == "seven"
    assert request.outputs == (RequestedOutput("a", True, 3), RequestedOutput("b", True))
    assert request.parameters["timeout"] == 2500000
    assert (request.parameters["mine"], request.parameters["half"]) == ("yes", 0.5)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_contents_arrive_as_they_left(datatype):
    field, values = CONTENTS[datatype]

    (tensor,) = parse_infer_request(message(datatype, (2,), **{field: values})).inputs

    if datatype == "BYTES":
        assert tensor.data == values
    else:
        expected = np.array(values, triton_to_np_dtype(datatype))
        assert tensor.data.dtype == expected.dtype
        np.testing.assert_array_equal(tensor.data, expected)


def test_streaming_client_may_ask_for_an_empty_final_response():
    request = message(bytes_contents=[b"x"])
    request.parameters["triton_enable_empty_final_response"].bool_param = True

    assert parse_infer_request(request).parameters["triton_enable_empty_final_response"] is True


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_message", "message"),
    [
        (message(), "input 'x' has no data; send contents or raw_input_contents"),
        (message(bytes_contents=[b"x"], raw=b"x"), "has contents, but the request has raw_input"),
        (message("NOPE", bytes_contents=[b"x"]), "datatype 'NOPE' of input 'x' cannot be read"),
        (message("BF16", raw=b"ab"), "datatype 'BF16'"),
        (message("FP16", fp32_contents=[1]), "FP16 cannot have contents; send raw_input_contents"),
        (message(int_contents=[1]), "BYTES has int_contents; expected bytes_contents"),
        (message("INT64", int_contents=[1]), "INT64 has int_contents; expected int64_contents"),
        (message(bytes_contents=[b"x"], int_contents=[1]), "has int_contents"),
        (message(bytes_contents=[b"x", b"y"]), "has 1 elements, but its data has 2"),
        (message(bytes_contents=[]), "has no data|but its data has 0"),
        (message("UINT8", (1,), uint_contents=[256]), "from 256 to 256; UINT8 takes 0 to 255"),
        (message("INT8", (2,), int_contents=[0, -129]), "from -129 to 0; INT8 takes -128 to 127"),
        (message(shape=(-1, 1), bytes_contents=[b"x"]), "the dimension -1"),
        (message(shape=(0, 1), raw=b""), "the dimension 0"),
        (message(shape=(2**62, 2**62), raw=b"\0\0\0\0"), "but its data has 1"),
        (message(shape=(1,) * 17, raw=b""), "more than 16 dimensions"),
        (message(raw=b"\x09\0\0\0abc"), "has a length of 9 bytes, but only 3 follow"),
        (message("UINT8", (2, 3), raw=b"abcde"), r"shape \[2, 3\] takes 6 bytes, got 5"),
        (with_output(int64_param=-1), "'classification' of output 'a' is -1"),
        (with_output(int64_param=0), "'classification' of output 'a' is 0"),
        (with_output(bool_param=True), "'classification' of output 'a' is True"),
        (with_output(string_param="3"), "'classification' of output 'a' is '3'"),
    ],
)
def test_message_that_is_wrong_is_refused(request_message, message):
    with pytest.raises(BadRequestError, match=message):
        parse_infer_request(request_message)


def test_contents_that_are_there_and_empty_are_refused():
    request = message()
    request.inputs[0].contents.SetInParent()

    with pytest.raises(BadRequestError, match="has 1 elements, but its data has 0"):
        parse_infer_request(request)


@pytest.mark.parametrize("count", [1, 3])
def test_raw_contents_are_as_many_as_the_inputs(count):
    request = message("UINT8", (1,))
    request.inputs.add(name="y", datatype="UINT8", shape=[1])
    request.raw_input_contents.extend([b"a"] * count)

    with pytest.raises(BadRequestError, match=f"has 2 inputs, but {count} raw_input_contents"):
        parse_infer_request(request)


def test_input_that_is_there_twice_is_refused():
    request = message("UINT8", (1,), raw=b"a")
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(b"b")

    with pytest.raises(BadRequestError, match="input 'x' is in the request twice"):
        parse_infer_request(request)


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("timeout", "string_param", "5"),
        ("timeout", "int64_param", -5),
        ("timeout", "bool_param", True),
        ("sequence_id", "bool_param", True),
        ("triton_mine", "bool_param", True),
    ],
)
def test_parameters_that_are_wrong_are_refused(name, kind, value):
    request = message(bytes_contents=[b"x"])
    setattr(request.parameters[name], kind, value)

    with pytest.raises(BadRequestError, match=f"parameter '{name}'"):
        parse_infer_request(request)


def test_parameter_without_a_value_is_refused():
    request = message(bytes_contents=[b"x"])
    request.parameters["mine"].SetInParent()

    with pytest.raises(BadRequestError, match="parameter 'mine' of the request has no value"):
        parse_infer_request(request)


def test_shared_memory_is_refused_as_something_that_is_not_done():
    given = client.InferInput("x", [1, 1], "BYTES")
    given.set_shared_memory("region", 3)
    output = client.InferRequestedOutput("a")
    output.set_shared_memory("region", 3)

    with pytest.raises(UnimplementedError, match="input 'x' asks for shared memory"):
        parse_infer_request(sent_by_client(given))
    with pytest.raises(UnimplementedError, match="output 'a' asks for shared memory"):
        parse_infer_request(
            sent_by_client(client_input("x", "UINT8", np.zeros(1, np.uint8)), outputs=[output])
        )


# --- answers --------------------------------------------------------------------------------------


def test_tritonclient_reads_what_was_answered():
    scores = np.array([[0.25, 0.7, 1e-10]], np.float32)
    labels = [b"0.700000:1:yak", b"0.250000:0:cat"]
    response = InferResponse(
        model_name="inception_v3",
        model_version="1",
        id="seven",
        outputs=(
            Tensor("scores", "FP32", (1, 3), scores),
            Tensor("labels", "BYTES", (1, 2), labels),
        ),
    )

    wire = build_infer_response(response).SerializeToString()

    answer = service_pb2.ModelInferResponse.FromString(wire)
    result = client.InferResult(answer)
    np.testing.assert_array_equal(result.as_numpy("scores"), scores)
    assert result.as_numpy("labels").tolist() == [labels]
    assert (answer.model_name, answer.model_version, answer.id) == ("inception_v3", "1", "seven")
