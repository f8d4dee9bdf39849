"""`POST /v1/classify` as curl and web back ends use it."""

import gzip

import httpx
import pytest

from model_repo.inception_v3 import (
    Classifier,
    RuntimeOptions,
    find_weights,
    load_model,
    postprocess,
    preprocess,
)
from tests.support.images import encode, photo
from tests.support.service import wait_until

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def classifier():
    model = load_model()
    options = RuntimeOptions(device="cpu", outputs=("embedding",))
    return Classifier.load(model, find_weights(model, "untrained"), options)


def test_body_is_labelled_as_the_classifier_labels_it(service, classifier, sample_photos):
    for path in sample_photos[:3]:
        image = path.read_bytes()
        expected = classifier.predict(preprocess(image).pixels[None])

        answer = service.post(image, top_k=3, embedding=True).json()

        (prediction,) = answer["predictions"]
        labels = postprocess(expected.logits, classifier.spec.labels, 3)[0].labels
        assert [each["index"] for each in prediction["labels"]] == [each.index for each in labels]
        assert prediction["score"] == pytest.approx(labels[0].score, abs=1e-5)
        assert prediction["embedding"] == pytest.approx(expected.embedding[0].tolist(), abs=1e-3)
        assert answer["weights_sha256"] == "untrained:0"


def test_bad_file_of_a_form_fails_alone(service, sample_photos):
    good = sample_photos[0].read_bytes()
    files = [
        ("image", ("good.jpg", good, "image/jpeg")),
        ("image", ("cut.jpg", good[: len(good) // 2], "image/jpeg")),
        ("image", ("again.jpg", good, "image/jpeg")),
    ]

    answer = httpx.post(f"{service.url}/v1/classify", files=files, timeout=60)

    first, cut, again = answer.json()["predictions"]
    assert answer.status_code == 200
    assert [each["name"] for each in (first, cut, again)] == ["good.jpg", "cut.jpg", "again.jpg"]
    assert first["label"] == again["label"]
    assert cut["error_kind"] == "unreadable"
    assert "label" not in cut


@pytest.mark.parametrize(
    ("content_type", "body", "status", "word"),
    [
        ("image/jpeg", b"", 400, "empty"),
        ("image/jpeg", b"\xff\xd8\xff\xe0 no jpeg", 422, "JPEG"),
        ("image/jpeg", b"%PDF-1.7", 422, "not an image"),
        ("text/plain", b"hello", 415, "text/plain"),
        ("application/json", b"{}", 415, "application/json"),
        ("multipart/form-data; boundary=x", b"--y", 400, "multipart"),
        ("multipart/form-data", b"--y", 400, "multipart"),
    ],
)
def test_bad_body_is_refused_in_words(service, content_type, body, status, word):
    headers = {"Content-Type": content_type}

    answer = httpx.post(f"{service.url}/v1/classify", content=body, headers=headers)

    assert answer.status_code == status
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ({"top_k": 0}, 400, "top_k"),
        ({"top_k": "many"}, 400, "top_k"),
        ({"top_k": 1001}, 400, "top_k: 1,001 is more than the 1,000 classes"),
        ({"embedding": "perhaps"}, 400, "embedding"),
        ({"model": "nope"}, 404, "'nope'"),
        ({"model": "inception_v3:9"}, 404, "'9'"),
    ],
)
def test_bad_query_is_refused_in_words(service, query, status, word):
    answer = service.post(encode(photo(40, 30), "JPEG"), **query)

    assert answer.status_code == status
    assert word in answer.json()["error"]


def test_unknown_paths_and_methods_answer_in_json(service):
    missing = httpx.get(f"{service.url}/v1/nothing")
    wrong = httpx.get(f"{service.url}/v1/classify")

    assert (missing.status_code, missing.json()) == (404, {"error": "not found"})
    assert (wrong.status_code, wrong.json()) == (405, {"error": "method not allowed"})


def test_compressed_body_is_understood(service):
    image = encode(photo(40, 30), "BMP")

    plain = service.post(image).json()["predictions"][0]
    packed = httpx.post(
        f"{service.url}/v1/classify",
        content=gzip.compress(image),
        headers={"Content-Encoding": "gzip"},
    ).json()["predictions"][0]

    assert packed["labels"] == plain["labels"]


def test_body_that_bursts_when_unpacked_is_refused(service):
    answer = httpx.post(
        f"{service.url}/v1/classify",
        content=gzip.compress(bytes(100_000_000)),
        headers={"Content-Encoding": "gzip"},
    )

    assert answer.status_code == 413


def test_answer_carries_the_request_id_that_the_log_has(service, sample_photos):
    headers = {"x-request-id": "my-own-id"}

    answer = httpx.post(
        f"{service.url}/v1/classify", content=sample_photos[0].read_bytes(), headers=headers
    )

    assert answer.headers["x-request-id"] == "my-own-id"
    wait_until(lambda: "my-own-id" in service.log.read_text())


def test_models_are_listed(service):
    assert httpx.get(f"{service.url}/v1/models").json() == {
        "models": [
            {
                "name": "inception_v3",
                "version": "1",
                "weights_sha256": "untrained:0",
                "classes": 1000,
            }
        ]
    }


def test_large_json_is_refused_before_it_is_parsed(service):
    body = b'{"inputs": [' + b"1," * 4_500_000 + b"1]}"

    answer = httpx.post(
        f"{service.url}/v2/models/inception_v3/infer", content=body, timeout=30, trust_env=False
    )

    assert answer.status_code == 413
    assert "binary data" in answer.json()["error"]


def test_health_answers_load_balancers(service):
    assert httpx.head(f"{service.url}/v2/health/ready", trust_env=False).status_code == 200
