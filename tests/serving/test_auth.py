"""Bearer tokens: over HTTP and gRPC alike, several, and none told in a message."""

import hashlib
import json

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from serving.auth import authorize
from serving.config import ConfigError, load_config
from serving.errors import UnauthorizedError
from tests.support.images import encode, photo
from tests.support.service import TOKENS

_SECRET = "a-secret-that-no-message-may-tell"

_IMAGE = encode(photo(40, 30), "JPEG")
_HASH = hashlib.sha256(TOKENS[0].encode()).hexdigest()


def get(service, path: str, authorization: str | bytes | None = None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx.get(f"{service.url}{path}", headers=headers, timeout=30)


@pytest.mark.ray
@pytest.mark.parametrize("token", TOKENS)
def test_each_token_opens_both_protocols(guarded, token):
    headers = {"Authorization": f"Bearer {token}"}
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[_IMAGE]], dtype=object))

    answer = httpx.post(f"{guarded.url}/v1/classify", content=_IMAGE, headers=headers, timeout=30)
    with triton.InferenceServerClient(guarded.grpc) as client:
        result = client.infer(
            "inception_v3_image", [tensor], headers={"authorization": f"Bearer {token}"}
        )

    assert answer.status_code == 200
    assert result.as_numpy("classification").shape == (1, 1000)


@pytest.mark.ray
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer nope",
        f"Bearer {_HASH}",
        f"Basic {TOKENS[0]}",
        TOKENS[0],
        f"Bearer {TOKENS[0]}x",
        f"Bearer {TOKENS[0]} {TOKENS[1]}",
        f"Bearer {TOKENS[0]},{TOKENS[1]}",
        b"Bearer \xff\xfe\x80",
        "Bearer " + "x" * 50_000,
    ],
)
def test_anything_else_is_refused_and_told_nothing(guarded, authorization):
    answer = get(guarded, "/v2/models/inception_v3", authorization)

    assert answer.status_code == 401
    assert answer.json() == {"error": "unauthorized"}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.ray
@pytest.mark.parametrize("path", ["/nothing", "/v1/models", "/v2", "/docs/more", "//"])
def test_other_paths_are_closed_whether_they_exist_or_not(guarded, path):
    assert get(guarded, path).status_code == 401
    assert get(guarded, path, f"Bearer {TOKENS[0]}").status_code in (200, 404)


@pytest.mark.ray
@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_open(guarded, path):
    assert get(guarded, path).status_code == 200


@pytest.mark.ray
@pytest.mark.parametrize("path", ["/", "/page/app.js", "/docs", "/openapi.json"])
def test_pages_are_open(guarded, path):
    assert (
        get(guarded, path).status_code == 200
    )  # they hold nothing, and ask for a token themselves


@pytest.mark.ray
@pytest.mark.parametrize(
    "path", ["/page/../v1/models", "/page/%2e%2e/v1/models", "/v2/health/ready/../../models/stats"]
)
def test_open_paths_are_no_way_round(guarded, path):
    with httpx.Client() as client:
        request = client.build_request("GET", guarded.url)
        request.url = httpx.URL(guarded.url).copy_with(raw_path=path.encode())
        answer = client.send(request)

    assert answer.status_code in (401, 404)


@pytest.mark.ray
@pytest.mark.parametrize("headers", [None, {"authorization": "Bearer nope"}])
def test_grpc_without_a_token_is_unauthenticated_but_for_health(guarded, headers):
    with triton.InferenceServerClient(guarded.grpc) as client:
        assert client.is_server_ready()
        assert client.is_server_live()
        with pytest.raises(InferenceServerException) as caught:
            client.get_model_metadata("inception_v3", headers=headers)

    assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    assert caught.value.message() == "unauthorized"


@pytest.mark.parametrize("text", ["", "# nobody\n\n", _SECRET, f"{_HASH}\n{_SECRET}\n", "\0\xff"])
def test_file_that_holds_no_hashes_is_refused_without_its_content(tmp_path, text):
    tokens = tmp_path / "tokens"
    tokens.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_config({"tokens_file": str(tokens)})

    assert str(tokens) in str(caught.value)
    assert _SECRET not in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the tokens.*missing"):
        load_config({"tokens_file": str(tmp_path / "missing")})


def test_binary_file_is_refused(tmp_path):
    (tmp_path / "tokens").write_bytes(b"\xff\xfe\x80")

    with pytest.raises(ConfigError, match="cannot read the tokens"):
        load_config({"tokens_file": str(tmp_path / "tokens")})


@pytest.mark.parametrize("value", ["", " ", _SECRET, f"{_HASH},{_SECRET}"])
def test_variable_that_holds_no_hashes_is_refused_without_its_content(monkeypatch, value):
    monkeypatch.setenv("LABELMILL_TOKENS", value)

    with pytest.raises(ConfigError, match="LABELMILL_TOKENS") as caught:
        load_config({})

    assert _SECRET not in str(caught.value)


def test_config_does_not_print_its_hashes(monkeypatch):
    monkeypatch.setenv("LABELMILL_TOKENS", _HASH)

    assert _HASH not in repr(load_config({}))


def test_scheme_is_read_in_any_case_and_everybody_may_ask_without_tokens():
    authorize(f"bEARER  {TOKENS[0]}", (_HASH,))
    authorize(None, ())
    with pytest.raises(UnauthorizedError) as caught:
        authorize("Bearer nope", (_HASH,))
    assert json.dumps({"error": str(caught.value)}) == '{"error": "unauthorized"}'
