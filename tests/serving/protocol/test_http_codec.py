import base64
import json
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import tritonclient.http as client
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import triton_to_np_dtype

from serving.errors import BadRequestError, ServiceError, UnimplementedError
from serving.protocol.http_codec import (
    build_infer_response,
    parse_header_length,
    parse_infer_request,
)
from serving.protocol.tensors import (
    NUMPY_TYPES,
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
)

SCORES = np.array([[0.25, 0.7, 1e-10], [0.125, 0.5, 1 / 3]], np.float32)
LABELS = [b"0.700000:1:yak", "0.250000:0:caf\u00e9".encode()]
generate = client.InferenceServerClient.generate_request_body
parse_response = client.InferenceServerClient.parse_response_body


def image(**changes) -> dict:
    """An input that is right, but for `changes`; None takes a member away."""
    right = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": ["aGV5"]}
    return {key: value for key, value in (right | changes).items() if value is not None}


def numbers(datatype: str, data: list, shape: list | None = None) -> dict:
    return {"name": "x", "datatype": datatype, "shape": shape or [len(data)], "data": data}


def encode(*inputs: dict, **more: object) -> bytes:
    return json.dumps({"inputs": list(inputs)} | more).encode()


@pytest.fixture
def parse(variant):
    return lambda body, length=None: parse_infer_request(body, length, variant.input[0])


def parse_one(parse, given: dict) -> Tensor:
    (tensor,) = parse(encode(given)).inputs
    return tensor


# --- what tritonclient sends ----------------------------------------------------------------------


def client_input(name: str, datatype: str, array: np.ndarray, *, binary: bool) -> client.InferInput:
    given = client.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_of_tritonclient_arrive_as_they_left(parse, pixels, binary):
    body, length = generate([client_input("pixels", "UINT8", pixels, binary=binary)])

    (tensor,) = parse(body, length).inputs

    assert (tensor.name, tensor.datatype, tensor.shape) == ("pixels", "UINT8", (2, 3, 299, 299))
    assert tensor.data.dtype == np.uint8
    np.testing.assert_array_equal(tensor.data, pixels)


def test_images_of_tritonclient_arrive_as_they_left(parse):
    images = np.array([[b"\xff\xd8 one"], [b""], [b"\x00\x01" * 999]], object)
    body, length = generate([client_input("image", "BYTES", images, binary=True)])

    (tensor,) = parse(body, length).inputs

    assert tensor.shape == (3, 1)
    assert tensor.data == [b"\xff\xd8 one", b"", b"\x00\x01" * 999]


def test_base64_images_of_tritonclient_arrive_as_they_left(parse):
    images = np.array([[base64.b64encode(b"\xff\xd8 one")]], object)
    body, length = generate([client_input("image", "BYTES", images, binary=False)])

    (tensor,) = parse(body, length).inputs

    assert tensor.data == [b"\xff\xd8 one"]


@pytest.mark.parametrize(
    "datatype",
    [name for name in NUMPY_TYPES if name != "FP16"],  # it cannot be JSON
)
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_of_tritonclient_arrives_as_it_left(parse, datatype, binary):
    dtype = triton_to_np_dtype(datatype)
    array = np.arange(6).reshape(2, 3).astype(dtype)
    body, length = generate([client_input("x", datatype, array, binary=binary)])

    (tensor,) = parse(body, length).inputs

    assert tensor.data.dtype == array.dtype
    np.testing.assert_array_equal(tensor.data, array)


def test_several_binary_tensors_are_taken_in_the_order_of_the_inputs(parse):
    halves = np.array([1.5, -2], np.float16)
    body, length = generate(
        [
            client_input("a", "FP16", halves, binary=True),
            client_input("b", "INT32", np.array([[7]], np.int32), binary=False),
            client_input("c", "BYTES", np.array([b"x", b"yz"], object), binary=True),
        ]
    )

    a, b, c = parse(body, length).inputs

    np.testing.assert_array_equal(a.data, halves)
    assert (b.data.tolist(), c.data) == ([[7]], [b"x", b"yz"])


def test_everything_else_of_tritonclient_arrives_too(parse):
    given = client_input("image", "BYTES", np.array([[b"x"]], object), binary=True)
    outputs = [
        client.InferRequestedOutput("classification", binary_data=False, class_count=3),
        client.InferRequestedOutput("embedding"),
    ]

    request = parse(
        *generate(
            [given],
            outputs=outputs,
            request_id="seven",
            sequence_id=5,
            sequence_start=True,
            priority=2,
            timeout=2500000,
            parameters={"mine": "yes", "half": 0.5},
        )
    )

    assert request.id == "seven"
    assert request.outputs == (
        RequestedOutput("classification", False, 3),
        RequestedOutput("embedding", True),
    )
    assert request.parameters["timeout"] == 2500000
    assert (request.parameters["mine"], request.parameters["half"]) == ("yes", 0.5)
    assert not request.binary_data_output


def test_tritonclient_that_names_no_output_gets_all_of_them_binary(parse):
    given = client_input("image", "BYTES", np.array([[b"x"]], object), binary=True)

    request = parse(*generate([given]))

    assert request.outputs == ()
    assert request.binary_data_output


# --- the rest of what is right --------------------------------------------------------------------


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_json_data_is_flat_or_nested(parse, data):
    tensor = parse_one(parse, numbers("INT8", data, [2, 2]))

    assert tensor.data.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "element", ["aGVsbG8gd29ybGQ=", "aGVsbG8g\nd29y\r\nbGQ=\n", " aGVsbG8gd29ybGQ="]
)
def test_json_image_is_base64_and_may_be_wrapped(parse, element):
    assert parse_one(parse, image(data=[[element]])).data == [b"hello world"]


def test_content_type_base64_means_what_json_means_anyway(parse):
    given = image(parameters={"content_type": "base64"})

    assert parse_one(parse, given).data == [b"hey"]


@pytest.mark.parametrize("data", [[0, 255], [0.0, 1]])
def test_json_floats_may_be_whole_numbers(parse, data):
    assert parse_one(parse, numbers("FP32", data)).data.dtype == np.float32


def test_the_first_of_two_requests_for_an_output_counts(parse):
    outputs = [{"name": "a", "parameters": {"classification": 2}}, {"name": "a"}]

    assert parse(encode(image(), outputs=outputs)).outputs == (RequestedOutput("a", False, 2),)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("general", [True, False])
def test_binary_data_of_an_output_wins_over_the_requests(parse, own, general):
    outputs = [{"name": "a", "parameters": {"binary_data": own}}, {"name": "b"}]

    request = parse(encode(image(), outputs=outputs, parameters={"binary_data_output": general}))

    assert [output.binary for output in request.outputs] == [own, general]


def test_classification_of_zero_is_off(parse):
    outputs = [{"name": "a", "parameters": {"classification": 0}}]

    assert parse(encode(image(), outputs=outputs)).outputs[0].classification == 0


def test_pixels_are_not_copied(parse):
    content = bytes(3_000_000)
    header = encode({"name": "x", "datatype": "UINT8", "shape": [3_000_000]}).replace(
        b'"shape"', b'"parameters": {"binary_data_size": 3000000}, "shape"'
    )
    body = header + content
    tracemalloc.start()

    parse(body, len(header))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


def test_bool_takes_any_byte_but_zero_for_true(parse):
    header = binary(3, "BOOL", (3,))

    (tensor,) = parse(header + b"\x00\x01\x80", len(header)).inputs

    assert tensor.data.tolist() == [False, True, True]


# --- a body that is the tensor itself -------------------------------------------------------------


def test_raw_body_is_one_image(variant):
    request = parse_infer_request(b"\xff\xd8...", 0, variant.input[0])

    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("image", "BYTES", (1, 1))
    assert tensor.data == [b"\xff\xd8..."]
    assert request.binary_data_output


def test_raw_body_is_the_pixels_of_as_many_images_as_fit(config, pixels):
    (tensor,) = parse_infer_request(pixels.tobytes(), 0, config.input[0]).inputs

    assert (tensor.name, tensor.datatype) == ("pixels", "UINT8")
    np.testing.assert_array_equal(tensor.data, pixels)


@pytest.mark.parametrize("size", [0, 1, 268202, 268204])
def test_raw_body_of_half_an_image_is_refused(config, size):
    with pytest.raises(BadRequestError, match=f"the body has {size} bytes; expected 268203 for"):
        parse_infer_request(bytes(size), 0, config.input[0])


def test_raw_body_of_no_image_is_refused(variant):
    with pytest.raises(BadRequestError, match="the body is empty"):
        parse_infer_request(b"", 0, variant.input[0])


@pytest.mark.parametrize(("text", "length"), [(None, None), ("0", 0), ("108", 108)])
def test_header_length_is_read(text, length):
    assert parse_header_length(text) == length


@pytest.mark.parametrize("text", ["", "-1", "+1", "x", "1.0", "1_0", " 1", "\u0661", "9" * 5000])
def test_header_length_that_is_no_number_is_refused(text):
    with pytest.raises(BadRequestError, match="Inference-Header-Content-Length is"):
        parse_header_length(text)


# --- what is wrong --------------------------------------------------------------------------------

SHARED = {"shared_memory_region": "r", "shared_memory_byte_size": 3}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xd8\xff\xe0", "not UTF-8 at byte 0; where binary"),
        ('{"inputs":[]}'.encode("utf-16"), "not UTF-8"),
        ('{"inputs":[]}'.encode("utf-8-sig"), "not valid JSON"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b'{"inputs":' + b"[" * 500 + b"]" * 500 + b"}", "input number 0 is"),
        (b'{"inputs":[' + b"[]," * 2**18 + b"[]]}", "more than 262144 arrays and objects; send fl"),
        (b"9" * 5000, "not valid JSON"),
        (b"[]", r"the request is \[\]; expected an object"),
        (b"null", "the request is None; expected an object"),
        (b"{}", "the request has no 'inputs'"),
        (b'{"inputs": null}', "'inputs' of the request is None; expected an array"),
        (b'{"inputs": {}}', "expected an array"),
        (b'{"inputs": ["x"]}', "input number 0 is 'x'; expected an object"),
        (encode(id=7), "'id' of the request is 7; expected a string"),
        (encode(parameters=[1]), "'parameters' of the request is"),
        (encode(outputs=None), "'outputs' of the request is None"),
        (encode(outputs=[3]), "output number 0 is 3"),
        (encode(outputs=[{}]), "output number 0 has no 'name'"),
        (encode(outputs=[{"name": ["x"]}]), "'name' of output number 0"),
        (encode(image(), image()), "input 'image' is in the request twice"),
    ],
)
def test_malformed_body_is_refused(parse, body, message):
    with pytest.raises(BadRequestError, match=message):
        parse(body)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (image(name=None), "an input has no 'name'"),
        (image(name=3), "'name' of an input is 3; expected a string"),
        (image(datatype=None), "input 'image' has no 'datatype'"),
        (image(datatype="BF16"), "datatype 'BF16' of input 'image' cannot be read; known are BOOL"),
        (image(datatype="bytes"), "datatype 'bytes'"),
        (image(datatype=["BYTES"]), "'datatype' of input 'image'"),
        (image(shape=None), "input 'image' has no 'shape'"),
        (image(shape="1"), "'shape' of input 'image' is '1'; expected an array"),
        (image(shape=[-1, 1]), "has the dimension -1; expected whole numbers from 1"),
        (image(shape=[0, 1], data=[]), "has the dimension 0"),
        (image(shape=[True, 1]), "has the dimension True"),
        (image(shape=[1.0, 1]), "has the dimension 1.0"),
        (image(shape=["1", 1]), "has the dimension '1'"),
        (image(shape=[None]), "has the dimension None"),
        (image(shape=[[1]]), r"has the dimension \[1\]"),
        (image(shape=[2**63]), "has the dimension 9223372036854775808"),
        (image(shape=[2**62] * 9), "but its data has 1"),
        (image(shape=[1] * 17), "more than 16 dimensions"),
        (image(data=None), "neither 'data' nor the parameter 'binary_data_size'"),
        (image(parameters={"binary_data_size": 3}), "both 'data' and the parameter"),
        (image(parameters=7), "'parameters' of input 'image' is 7"),
        (image(data="aGV5"), "'data' of input 'image' is 'aGV5'; expected an array"),
        (image(data=["aGV5", "aGV5"]), "has 1 elements, but its data has 2"),
        (image(data=[]), "has 1 elements, but its data has 0"),
        (image(data=[["aGV5"], ["aGV5"]]), "neither flat nor nested as its shape"),
        (image(data=[[["aGV5"]]]), r"element 0 of BYTES input 'image' is \['aGV5'\]"),
        (image(data=[7]), "element 0 of BYTES input 'image' is 7; expected a string, base64"),
        (image(data=[None]), "expected a string, base64"),
        (image(data=["hello!"]), "element 0 of BYTES input 'image' is not base64"),
        (image(data=["aGV5Z"]), "not base64"),
        (image(data=["data:image/png;base64,aGV5"]), "not base64"),
        (image(data=["h\u00e9llo"]), "not base64"),
        (numbers("UINT8", [256]), "goes from 256 to 256; UINT8 takes 0 to 255"),
        (numbers("UINT8", [-1]), "UINT8 takes 0 to 255"),
        (numbers("UINT8", [1.0]), "the element 1.0, which is not UINT8"),
        (numbers("UINT8", [1, True]), "the element True, which is not UINT8"),
        (numbers("UINT8", ["1"]), "the element '1', which is not UINT8"),
        (numbers("UINT8", [None]), "the element None"),
        (numbers("UINT8", [{}]), "the element {}"),
        (numbers("INT64", [2**63]), "INT64 takes"),
        (numbers("UINT64", [10**4000]), "UINT64 takes"),
        (numbers("BOOL", [1]), "the element 1, which is not BOOL"),
        (numbers("FP32", [False]), "the element False, which is not FP32"),
        (numbers("FP32", [10**400]), "out of the range of FP32"),
        (numbers("FP16", [1.0]), "FP16 cannot be JSON; send binary"),
        (numbers("INT8", [[1, 2, 3], [4]], [2, 2]), "neither flat nor nested"),
        (numbers("INT8", [[1, 2], 3, 4], [2, 2]), "neither flat nor nested"),
        (numbers("INT8", [1, [2]], [2]), r"the element \[2\], which is not INT8"),
    ],
)
def test_input_that_is_wrong_is_refused(parse, given, message):
    with pytest.raises(BadRequestError, match=message):
        parse(encode(given))


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(parse, literal):
    body = encode(numbers("FP32", [0.5])).replace(b"0.5", literal.encode())

    with pytest.raises(BadRequestError, match=f"{literal} is not a JSON number"):
        parse(body)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"timeout": "5"}, "'timeout' of the request is '5'; expected int"),
        ({"timeout": True}, "'timeout' of the request is True; expected int"),
        ({"timeout": 1.5}, "'timeout'"),
        ({"timeout": -1}, "'timeout' of the request is out of range"),
        ({"timeout": 10**4000}, "'timeout' of the request is out of range"),
        ({"priority": None}, "'priority'"),
        ({"sequence_id": 1.5}, "'sequence_id' of the request is 1.5; expected int or str"),
        ({"sequence_start": 1}, "'sequence_start' of the request is 1; expected bool"),
        ({"binary_data_output": 1}, "'binary_data_output' of the request is 1; expected bool"),
        ({"mine": [1]}, "'mine' of the request"),
        ({"mine": None}, "'mine' of the request is None"),
        ({"mine": 2**64}, "'mine' of the request is out of range"),
        ({"triton_mine": 1}, "'triton_mine': names that begin with 'triton_' are reserved"),
    ],
)
def test_parameters_that_are_wrong_are_refused(parse, parameters, message):
    with pytest.raises(BadRequestError, match=message):
        parse(encode(image(), parameters=parameters))


@pytest.mark.parametrize("value", [-1, 2.0, "3", True, None, 1e30, 2**63, [1]])
def test_classification_that_is_no_count_is_refused(parse, value):
    outputs = [{"name": "a", "parameters": {"classification": value}}]

    with pytest.raises(BadRequestError, match=r"'classification' of output 'a' is .* from 0"):
        parse(encode(image(), outputs=outputs))


@pytest.mark.parametrize("value", [1, "true", None, []])
def test_binary_data_that_is_no_flag_is_refused(parse, value):
    outputs = [{"name": "a", "parameters": {"binary_data": value}}]

    with pytest.raises(BadRequestError, match=r"'binary_data' of output 'a' is .* expected bool"):
        parse(encode(image(), outputs=outputs))


def test_shared_memory_is_refused_as_something_that_is_not_done(parse):
    with pytest.raises(UnimplementedError, match="input 'image' asks for shared memory"):
        parse(encode(image(data=None, parameters=SHARED)))
    with pytest.raises(UnimplementedError, match="output 'a' asks for shared memory"):
        parse(encode(image(), outputs=[{"name": "a", "parameters": SHARED}]))


def test_what_a_message_quotes_is_short(parse):
    with pytest.raises(BadRequestError) as caught:
        parse(encode(image(name="x" * 1_000_000, datatype="y" * 1_000_000)))

    assert len(str(caught.value)) < 600


# --- binary that is wrong -------------------------------------------------------------------------


def binary(size: object, datatype: str = "BYTES", shape: tuple = (1, 1)) -> bytes:
    parameters = {"binary_data_size": size}
    return encode(image(data=None, datatype=datatype, shape=list(shape), parameters=parameters))


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (binary(7), b"\x03\0\0\0abcd", "the body has 1 bytes after its last tensor"),
        (binary(7), b"\x03\0\0\0a", "binary_data_size of 7, but only 5 bytes are left"),
        (binary(10**18), b"\x03\0\0\0a", "but only 5 bytes are left"),
        (binary(7), b"\x09\0\0\0abc", "element 0 .* has a length of 9 bytes, but only 3 follow"),
        (binary(7), b"\xff\xff\xff\xffabc", "has a length of 4294967295 bytes"),
        (binary(8), bytes(8), "has 1 elements, but its data has 2"),
        (binary(0), b"", "has 1 elements, but its data has 0"),
        (binary(3), b"abc", "ends with 3 bytes that are no length"),
        (binary(-1), b"", "'binary_data_size' of input 'image' is -1"),
        (binary(1.0), b"a", "'binary_data_size' of input 'image' is 1.0"),
        (binary(True), b"a", "'binary_data_size' of input 'image' is True"),
        (binary("1"), b"a", "'binary_data_size' of input 'image' is '1'"),
        (binary(None), b"a", "'binary_data_size' of input 'image' is None"),
        (binary(5, "UINT8", (2, 3)), b"abcde", r"shape \[2, 3\] takes 6 bytes, got 5"),
        (binary(5, "UINT8", (2**40, 2**40)), b"abcde", "takes 1208925819614629174706176 bytes"),
        (binary(6, "FP32", (2,)), b"abcdef", "takes 8 bytes, got 6"),
    ],
)
def test_binary_that_does_not_fit_is_refused(parse, header, content, message):
    with pytest.raises(BadRequestError, match=message):
        parse(header + content, len(header))


@pytest.mark.parametrize("length", [-1, 5, 2**62])
def test_header_length_beyond_the_body_is_refused(parse, length):
    with pytest.raises(BadRequestError, match=f"is {length}, but the body has 4 bytes"):
        parse(b"null", length)


def test_binary_without_the_header_names_the_header(parse):
    with pytest.raises(BadRequestError, match="Inference-Header-Content-Length must give"):
        parse(binary(7))


def test_nested_pixels_may_be_a_whole_batch(parse):
    data = np.zeros((32, 3, 299, 2), np.uint8).tolist()  # as many rows as the model takes

    assert parse_one(parse, numbers("UINT8", data, [32, 3, 299, 2])).shape == (32, 3, 299, 2)


@pytest.mark.parametrize(
    "body",
    [
        encode(numbers("FP64", [1], [2**60])),
        encode(image(shape=[2**60, 1])),
        encode(numbers("INT8", [[1] * 9] * 9, [9] * 16)),
    ],
)
def test_shape_that_lies_takes_no_memory(parse, body):
    tracemalloc.start()
    with pytest.raises(BadRequestError):
        parse(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 200_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["name", "shape", "datatype", "data", "parameters", "binary_data_size"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
INPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=4) | JSON,
        "datatype": st.sampled_from(["BYTES", "UINT8", "FP32", "BOOL", "FP16"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=4) | JSON,
        "data": JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20) | JSON}),
    },
)


@pytest.mark.long
@given(
    request=st.fixed_dictionaries(
        {"inputs": st.lists(INPUT, max_size=3) | JSON},
        optional={"id": JSON, "outputs": st.lists(JSON, max_size=2), "parameters": JSON},
    ),
    content=st.binary(max_size=24),
    cut=st.integers(-3, 3),
)
def test_whatever_comes_is_a_request_or_refused(variant, request, content, cut):
    header = json.dumps(request).encode()

    with suppress(ServiceError):
        parsed = parse_infer_request(header + content, len(header) + cut, variant.input[0])
        assert all(isinstance(tensor, Tensor) for tensor in parsed.inputs)


@pytest.mark.long
@given(body=st.binary(max_size=64), length=st.none() | st.integers(-1, 70))
def test_bytes_that_mean_nothing_are_a_request_or_refused(variant, body, length):
    with suppress(ServiceError):
        parse_infer_request(body, length, variant.input[0])


# --- answers --------------------------------------------------------------------------------------


def answer(**changes) -> InferResponse:
    outputs = (
        Tensor("scores", "FP32", (2, 3), SCORES),
        Tensor("labels", "BYTES", (1, 2), LABELS),
    )
    values = {"model_name": "inception_v3", "model_version": "1", "outputs": outputs}
    return InferResponse(**(values | changes))


@pytest.mark.parametrize("scores_binary", [True, False])
@pytest.mark.parametrize("labels_binary", [True, False])
def test_tritonclient_reads_what_was_answered(scores_binary, labels_binary):
    outputs = (RequestedOutput("scores", scores_binary), RequestedOutput("labels", labels_binary))

    body, length = build_infer_response(answer(), InferRequest(outputs=outputs))

    result = parse_response(body, header_length=length)
    np.testing.assert_array_equal(result.as_numpy("scores"), SCORES)
    got = [
        label if isinstance(label, bytes) else label.encode()
        for label in result.as_numpy("labels").ravel()
    ]
    assert got == LABELS
    assert (length is None) == (not scores_binary and not labels_binary)
    if length is None:
        json.loads(body)


def test_outputs_that_nobody_named_follow_binary_data_output():
    text, none = build_infer_response(answer(), InferRequest())
    body, length = build_infer_response(answer(), InferRequest(binary_data_output=True))

    assert none is None
    assert json.loads(text)["outputs"][0]["data"] == SCORES.ravel().tolist()
    assert len(body) - length == SCORES.nbytes + sum(4 + len(label) for label in LABELS)


def test_answer_has_the_members_of_the_protocol():
    body, _ = build_infer_response(answer(outputs=answer().outputs[1:]), InferRequest())

    assert json.loads(body) == {
        "model_name": "inception_v3",
        "model_version": "1",
        "outputs": [
            {
                "name": "labels",
                "datatype": "BYTES",
                "shape": [1, 2],
                "data": [label.decode() for label in LABELS],
            }
        ],
    }


def test_id_is_there_when_there_is_one():
    response = answer(id="seven")

    body, _ = build_infer_response(response, InferRequest())

    assert json.loads(body)["id"] == "seven"


def test_id_that_is_half_a_character_comes_back(parse):
    request = parse(b'{"id":"\\ud800","inputs":[]}')

    body, _ = build_infer_response(answer(id=request.id), request)

    assert json.loads(body)["id"] == "\ud800"
