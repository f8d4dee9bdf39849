"""Who needs a token over HTTP, and what the description says of it."""

import asyncio
from unittest.mock import MagicMock

import httpx
import pytest

from serving.http.app import build_http_app


def _get(path, hashes):
    service = MagicMock()
    service.config.token_hashes = hashes
    app = build_http_app(service, MagicMock())

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return ask


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/", 200),
        ("/docs", 200),
        ("/openapi.json", 200),
        ("/v1/models", 401),
        ("/v2", 401),
        ("/v2/models/inception_v3/ready", 401),
        ("/v2/health/ready/", 401),
        ("/page/../v2", 401),
        ("/nothing", 401),
    ],
)
def test_only_health_and_pages_are_open(path, status):
    answer = asyncio.run(_get(path, ("0" * 64,))())

    assert answer.status_code == status
    if status == 401:
        assert answer.json() == {"error": "unauthorized"}
        assert answer.headers["www-authenticate"] == "Bearer"


def test_description_says_where_a_token_is_wanted():
    paths = asyncio.run(_get("/openapi.json", ("0" * 64,))()).json()["paths"]

    wanted = {path for path, each in paths.items() if "security" in next(iter(each.values()))}
    assert paths.keys() - wanted == {"/v2/health/live", "/v2/health/ready"}


def test_description_wants_no_token_where_there_are_none():
    assert "security" not in asyncio.run(_get("/openapi.json", ())()).text
