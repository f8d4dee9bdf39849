import asyncio
import gzip
from typing import Any

import pytest
from starlette.requests import Request

from serving.config import UserConfig
from serving.errors import ContentTooLargeError
from serving.http.body import read_body

LIMITS = UserConfig(max_body_bytes=1_000_000)


def request(body: bytes) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-encoding", b"gzip")]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def test_compressed_body_is_known_by_what_it_is_and_what_it_was():
    plain, known = bytes(900_000), []
    body = gzip.compress(plain)

    read = asyncio.run(read_body(request(body), LIMITS, lambda *sizes: known.append(sizes)))

    assert read == plain
    assert known[-1] == (len(body), len(plain))


def test_no_more_is_decompressed_than_may_be_sent():
    with pytest.raises(ContentTooLargeError, match="exceeds the limit of 1,000,000"):
        asyncio.run(read_body(request(gzip.compress(bytes(5_000_000))), LIMITS))
