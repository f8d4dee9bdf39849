"""NVIDIA's own clients, as they are: HTTP and gRPC, blocking and asyncio, over both proxies."""

import asyncio
import queue
from functools import partial

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

from model_repo.inception_v3 import preprocess
from tests.support.images import encode, photo
from tests.support.service import haproxy_environment, run_service, wait_until

pytestmark = pytest.mark.ray

PIXELS = np.stack([preprocess(encode(photo(400, 300, seed), "PNG")).pixels for seed in range(3)])
JPEG = encode(photo(320, 320), "JPEG")
MODULES = {"http": http_client, "grpc": grpc_client}


@pytest.fixture(scope="module", params=["proxy", "haproxy"])
def any_service(request, service, tmp_path_factory):
    if request.param == "proxy":
        yield service
        return
    folder = tmp_path_factory.mktemp("haproxy")
    with run_service(
        folder, "max_replicas=1", "max_queue_s=60", environment=haproxy_environment()
    ) as running:
        with grpc_client.InferenceServerClient(running.grpc) as client:
            wait_until(lambda: _is_ready(client))
        yield running


@pytest.fixture(params=["http", "grpc"])
def protocol(request):
    return request.param


@pytest.fixture
def client(any_service, protocol):
    with _client(MODULES[protocol], any_service, protocol) as client:
        yield client


def _is_ready(client):
    try:
        return client.is_server_ready()
    except InferenceServerException:
        return False


def _client(module, service, protocol, **options):
    address = service.grpc if protocol == "grpc" else service.url.removeprefix("http://")
    return module.InferenceServerClient(address, **options)


def _keep(box, result, error):
    box.put((result, error))


def _pixels(module, pixels=PIXELS, datatype="UINT8", **options):
    tensor = module.InferInput("pixels", pixels.shape, datatype)
    tensor.set_data_from_numpy(pixels.astype({"UINT8": np.uint8, "FP32": np.float32}[datatype]))
    if options:
        tensor.set_data_from_numpy(pixels, **options)
    return [tensor]


def _images(module, *images):
    tensor = module.InferInput("image", [len(images), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(images, object).reshape(-1, 1))
    return [tensor]


def _named(module, count, **options):
    return [module.InferRequestedOutput("classification", class_count=count, **options)]


def test_health_and_metadata(client, protocol):
    config = client.get_model_config("inception_v3")
    metadata = client.get_model_metadata("inception_v3_image", "1")
    server = client.get_server_metadata()
    if protocol == "grpc":
        config = config.config
        assert (server.name, list(metadata.versions)) == ("labelmill", ["1"])
        assert (metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == ("BYTES", [-1, 1])
        assert (config.max_batch_size, list(config.input[0].dims)) == (32, [3, 299, 299])
        assert config.parameters["precision"].string_value == "fp32"
    else:
        assert (server["name"], metadata["versions"]) == ("labelmill", ["1"])
        assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}]
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (32, [3, 299, 299])
        assert config["parameters"]["precision"]["string_value"] == "fp32"
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("inception_v3_image", "1")
    assert not client.is_model_ready("inception_v3", "7")


def test_pixels_of_either_datatype_give_the_same_scores(client, protocol):
    module = MODULES[protocol]

    scores = client.infer("inception_v3", _pixels(module)).as_numpy("classification")
    floats = client.infer("inception_v3", _pixels(module, datatype="FP32"), model_version="1")

    assert scores.shape == (3, 1000)
    assert scores.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
    np.testing.assert_allclose(floats.as_numpy("classification"), scores, atol=1e-6)


def test_as_many_images_as_a_batch_has_come_through(client, protocol):
    module = MODULES[protocol]
    pixels = np.resize(PIXELS, (32, 3, 299, 299))  # 8.6 MB: gRPC itself would stop at 4

    scores = client.infer("inception_v3", _pixels(module, pixels)).as_numpy("classification")

    assert scores.shape == (32, 1000)


def test_encoded_images_are_classified_and_the_id_comes_back(client, protocol, any_service):
    module = MODULES[protocol]
    best = any_service.post(JPEG).json()["predictions"][0]["labels"][0]

    answer = client.infer(
        "inception_v3_image",
        _images(module, JPEG, encode(photo(200, 300, 5), "PNG")),
        outputs=_named(module, 2),
        request_id="seventeen",
    )

    found = answer.as_numpy("classification")
    assert found.shape == (2, 2)
    score, index, label = found[0, 0].decode().split(":", 2)
    assert (int(index), label) == (best["index"], best["label"])
    assert float(score) == pytest.approx(best["score"], abs=1e-4)
    response = answer.get_response()
    assert (response.id if protocol == "grpc" else response["id"]) == "seventeen"


def test_more_classes_than_there_are_give_all(client, protocol):
    module = MODULES[protocol]

    answer = client.infer("inception_v3", _pixels(module), outputs=_named(module, 5000))

    assert answer.as_numpy("classification").shape == (3, 1000)


def test_requests_side_by_side_each_get_their_own_answer(any_service, protocol):
    module = MODULES[protocol]
    options = {"concurrency": 4} if protocol == "http" else {}
    with _client(module, any_service, protocol, **options) as client:
        alone = client.infer("inception_v3", _pixels(module)).as_numpy("classification")
        singles = [_pixels(module, PIXELS[[number]]) for number in range(3)]
        if protocol == "http":
            waiting = [client.async_infer("inception_v3", inputs) for inputs in singles]
            answers = [each.get_result() for each in waiting]
        else:
            boxes = [queue.Queue() for _ in singles]
            for inputs, box in zip(singles, boxes, strict=True):
                client.async_infer("inception_v3", inputs, partial(_keep, box))
            answers = [box.get(timeout=60)[0] for box in boxes]

    for number, answer in enumerate(answers):
        found = answer.as_numpy("classification")
        np.testing.assert_allclose(found, alone[[number]], atol=1e-5)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_understood(client, protocol, algorithm):
    module = MODULES[protocol]
    options = {"compression_algorithm": algorithm}
    if protocol == "http":
        names = ("request_compression_algorithm", "response_compression_algorithm")
        options = dict.fromkeys(names, algorithm)

    plain = client.infer("inception_v3", _pixels(module)).as_numpy("classification")
    packed = client.infer("inception_v3", _pixels(module), **options).as_numpy("classification")

    np.testing.assert_allclose(packed, plain, atol=1e-6)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_json_and_binary_tensors_over_http(any_service, binary_in, binary_out):
    with _client(http_client, any_service, "http") as client:
        inputs = _pixels(http_client, PIXELS[:1], binary_data=binary_in)
        outputs = _named(http_client, 0, binary_data=binary_out)
        answer = client.infer("inception_v3", inputs, outputs=outputs)

    assert answer.as_numpy("classification").shape == (1, 1000)
    assert ("data" in answer.get_output("classification")) is not binary_out


def test_raw_body_is_the_one_input(any_service):
    url = f"{any_service.url}/v2/models/inception_v3_image/infer"

    raw = httpx.post(url, content=JPEG, headers={"Inference-Header-Content-Length": "0"})

    length = int(raw.headers["Inference-Header-Content-Length"])
    scores = np.frombuffer(raw.content[length:], np.float32)
    best = any_service.post(JPEG).json()["predictions"][0]["labels"][0]
    assert scores.argmax() == best["index"]


def test_stream_answers_in_order_and_a_bad_request_fails_alone(any_service):
    answers = queue.Queue()
    with _client(grpc_client, any_service, "grpc") as client:
        client.start_stream(partial(_keep, answers))
        for number in range(5):
            inputs = _images(grpc_client, JPEG if number != 2 else b"no image")
            client.async_stream_infer("inception_v3_image", inputs, request_id=str(number))
        found = [answers.get(timeout=60) for _ in range(5)]
        client.stop_stream()

    assert [error is None for _, error in found] == [True, True, False, True, True]
    ids = [result.get_response().id for result, error in found if error is None]
    assert ids == ["0", "1", "3", "4"]
    assert "not an image" in str(found[2][1])


def test_asyncio_clients(any_service, protocol):
    module = {"http": http_aio, "grpc": grpc_aio}[protocol]
    blocking = MODULES[protocol]

    async def ask():
        async with _client(module, any_service, protocol) as client:
            calls = [client.infer("inception_v3", _pixels(blocking)) for _ in range(3)]
            return await client.is_server_ready(), await asyncio.gather(*calls)

    ready, answers = asyncio.run(ask())

    assert ready
    assert [each.as_numpy("classification").shape for each in answers] == [(3, 1000)] * 3


def test_asyncio_stream(any_service):
    async def requests():
        for number in range(3):
            yield {
                "model_name": "inception_v3_image",
                "inputs": _images(grpc_client, JPEG),
                "request_id": str(number),
            }

    async def ask():
        async with _client(grpc_aio, any_service, "grpc") as client:
            return [result.get_response().id async for result, _ in client.stream_infer(requests())]

    assert asyncio.run(ask()) == ["0", "1", "2"]


def test_index_and_statistics(client, protocol):
    index = client.get_model_repository_index()
    if protocol == "grpc":
        index = [{"name": each.name, "state": each.state} for each in index.models]
    states = {each["name"]: each["state"] for each in index}
    assert states == {"inception_v3": "READY", "inception_v3_image": "READY"}

    before = _success(client, protocol)
    client.infer("inception_v3", _pixels(MODULES[protocol]))
    after = _success(client, protocol)

    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 3]


def _success(client, protocol):
    """Return how many requests succeeded, and how many images were labelled."""
    if protocol == "grpc":
        found = client.get_inference_statistics("inception_v3").model_stats[0]
        return found.inference_stats.success.count, found.inference_count
    found = client.get_inference_statistics("inception_v3")["model_stats"][0]
    return found["inference_stats"]["success"]["count"], found["inference_count"]


def test_missing_models_and_versions_are_not_found(client, protocol):
    inputs = _pixels(MODULES[protocol])
    for model, version in (("inception_v3", "7"), ("nope", "")):
        for ask in (client.get_model_metadata, client.get_model_config):
            with pytest.raises(InferenceServerException) as caught:
                ask(model, version)
            assert caught.value.status() in {"404", "StatusCode.NOT_FOUND"}
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, inputs, model_version=version)
        assert caught.value.status() in {"404", "StatusCode.NOT_FOUND"}
