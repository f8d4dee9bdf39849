import asyncio
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from serving.config import ServingConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword:DeprecationWarning")  # Serve's

CONTEXT = Mock(**{"peer.return_value": "ipv4:127.0.0.1:5", "invocation_metadata.return_value": ()})


@pytest.fixture
def methods() -> Any:
    """The methods of a service in which no request ever gets an answer."""
    from serving.grpc.methods import GrpcMethods  # noqa: PLC0415

    @asynccontextmanager
    async def admit(*_: object) -> Any:
        yield await asyncio.sleep(60)

    methods = GrpcMethods()
    methods.service = Mock(config=ServingConfig(), admit=admit)
    return methods


def counted(methods: Any) -> list[tuple[str, int]]:
    return [call.args for call in methods.service.metrics.count_request.mock_calls]


async def give_up(coroutine: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await coroutine


def test_call_that_its_caller_gives_up_is_no_success(methods):
    asyncio.run(give_up(methods.ModelInfer(b"", CONTEXT)))

    assert counted(methods) == [("grpc", 499)]


def test_stream_that_its_caller_gives_up_is_no_success(methods):
    async def requests() -> Any:
        yield b""

    asyncio.run(give_up(anext(methods.ModelStreamInfer(requests(), CONTEXT))))

    assert counted(methods) == [("grpc", 499)]


def test_answered_call_is_a_success(methods):
    assert asyncio.run(methods.ServerLive(b"", CONTEXT)).live

    assert counted(methods) == [("grpc", 200)]
