"""What the HTTP proxy itself answers, beside an application that is here."""

import asyncio
import json
from typing import Any

import pytest

from serving.config import UserConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's

GONE = {"type": "http.disconnect"}
LOAD = "/v2/repository/models/a/load"


def ask(app: Any, path: str = "/v1/classify") -> tuple[int | None, str, list[str]]:
    """Return status, error and the statuses that were counted as refused."""
    from serving.http.proxy import ProxyMiddleware  # noqa: PLC0415

    middleware = ProxyMiddleware(app, UserConfig(request_timeout_s=0.01))
    messages, sent, refused = [{"type": "http.request", "body": b""}, GONE], [], []
    middleware._refused.inc = lambda tags: refused.append(tags["status"])

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(middleware(scope, receive, send))
    if not sent:
        return None, "", refused
    return sent[0]["status"], json.loads(sent[1]["body"])["error"], refused


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr("serving.http.proxy._GRACE_S", 0.0)


def test_caller_who_goes_away_is_no_internal_error():
    async def app(_: Any, receive: Any, __: Any) -> None:
        while await receive() != GONE:
            pass

    assert ask(app) == (None, "", [])


def test_replica_that_says_nothing_is_an_internal_error():
    async def app(*_: Any) -> None:
        pass

    status, error, refused = ask(app)

    assert (status, refused) == (500, ["500"])
    assert "internal error" in error


@pytest.mark.parametrize("says_so", [False, True])
def test_replica_that_takes_too_long_is_not_waited_for(says_so):
    async def app(*_: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if says_so:
                raise

    assert ask(app)[0] == 504


def test_model_takes_the_time_to_load_that_it_needs():
    async def app(_: Any, __: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        header = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": 400, "headers": [header]})
        await send({"type": "http.response.body", "body": b'{"error": "loaded in vain"}'})

    assert ask(app, LOAD) == (400, "loaded in vain", [])


def test_header_that_serve_cannot_read_is_the_callers_fault():
    async def app(*_: Any) -> None:
        b"\xff".decode()

    assert ask(app) == (400, "a header is not UTF-8", ["400"])
