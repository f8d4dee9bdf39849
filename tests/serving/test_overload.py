"""More than can be answered: what still is, and how the rest is refused, dropped or given up.

The model only sleeps, so that its speed is the same on a busy machine.
"""

import asyncio
import base64
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from tests.support.load import (
    Answer,
    Client,
    ask_at_rate,
    ask_in_turn,
    build_post,
    statuses,
)
from tests.support.processes import memory_bytes, replicas
from tests.support.service import SLOW_FORWARD_S, RunningService, wait_until

pytestmark = pytest.mark.ray

_CAPACITY = 1 / SLOW_FORWARD_S


@pytest.fixture
def image(sample_photos) -> bytes:
    return next(path for path in sample_photos if path.name == "astronaut.jpg").read_bytes()


@dataclass(frozen=True)
class Flood:
    """What came of asking for three times as much as can be answered.

    Attributes:
        forwarded: images that the network was given.
        memory: of the replica before and after, bytes.
    """

    answers: list[Answer]
    forwarded: int
    memory: tuple[int, int]

    @property
    def ok(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 503]


@pytest.fixture(scope="module")
def flood(slow_service) -> Flood:
    photo = (Path(__file__).parents[2] / "jobs" / "demo" / "samples" / "astronaut.jpg").read_bytes()
    (pid,), request = replicas(slow_service), build_post(photo)

    async def run() -> Flood:
        answers = await ask_in_turn(slow_service.url, [request], 16, 2)
        assert statuses(answers).keys() == {200}
        images, memory = images_so_far(slow_service), memory_bytes(pid)
        answers = await ask_at_rate(slow_service.url, [request], 3 * _CAPACITY, 8)
        forwarded = images_so_far(slow_service) - images
        return Flood(answers, forwarded, (memory, memory_bytes(pid)))

    return asyncio.run(run())


def sent(answer: Answer) -> float:
    return answer.at - answer.seconds


async def call_grpc(service: RunningService, image: bytes, calls: int = 1, **options) -> list[str]:
    """Make calls, all at once; return how they ended."""
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image]], dtype=object))

    async def call() -> str:
        try:
            await client.infer("inception_v3_image", [tensor], **options)
        except InferenceServerException as exc:
            return exc.status() or ""
        return "ok"

    async with triton.InferenceServerClient(service.grpc) as client:
        return await asyncio.gather(*(call() for _ in range(calls)))


def test_goodput_stays_near_capacity(flood):
    assert statuses(flood.answers).keys() == {200, 503}
    assert len(flood.ok) > 0.5 * len(flood.answers) / 3  # 0.9 where nothing else runs
    assert flood.forwarded == len(flood.ok)


def test_refusals_come_at_once_and_say_when_to_try_again(flood):
    still_waiting = []
    for refused in flood.refused:
        in_line = [each for each in flood.ok if sent(each) < sent(refused) < each.at]
        overtaken = [each for each in in_line if each.at > refused.at]
        still_waiting.append(len(overtaken) / max(len(in_line), 1))

    assert len(flood.refused) > len(flood.answers) / 3
    assert statistics.median(still_waiting) > 0.9
    for answer in flood.refused:
        assert answer.headers["content-type"] == "application/json"
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert "try again later" in answer.json()["error"]
        assert "x-labelmill-full" not in answer.headers


def test_nobody_waits_longer_than_the_limit(flood):
    answered = [answer.at for answer in flood.ok]

    for answer in flood.ok:
        before = sum(sent(answer) < at < answer.at for at in answered)
        assert before < 3 * 2 * _CAPACITY  # max_queue_s, and noise


def test_grpc_calls_are_refused_with_their_own_status(flood, slow_service, image):
    ends = asyncio.run(call_grpc(slow_service, image, calls=200))  # of which 66 take two seconds

    assert set(ends) == {"ok", str(grpc.StatusCode.RESOURCE_EXHAUSTED)}


def test_service_recovers_and_gives_its_memory_back(flood, slow_service, image):
    before, (memory, memory_after) = images_so_far(slow_service), flood.memory

    answer = slow_service.post(image)

    assert answer.status_code == 200
    assert images_so_far(slow_service) - before == 1  # nobody else was in line
    assert memory_after < 1.1 * memory


def test_health_is_answered_under_load(slow_service, image):
    async def run():
        flooding = asyncio.create_task(
            ask_at_rate(slow_service.url, [build_post(image)], 3 * _CAPACITY, 3)
        )
        await asyncio.sleep(2)
        client = Client(slow_service.url)
        health = await client.ask(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        client.close()
        return health, await flooding

    health, answers = asyncio.run(run())

    assert 503 in statuses(answers)
    assert health.status == 200


def images_so_far(service: RunningService) -> int:
    answer = httpx.get(f"{service.url}/v2/models/inception_v3/stats").json()
    return sum(
        each["batch_size"] * each["compute_infer"]["count"]
        for each in answer["model_stats"][0]["batch_stats"]
    )


def test_callers_who_hang_up_cost_no_forward_pass(slow_service, image):
    batch = [("image", (str(number), image, "image/jpeg")) for number in range(32)]
    wait_until(lambda: slow_service.post(image).status_code == 200)
    before = images_so_far(slow_service)

    async def run():
        client, request = Client(slow_service.url), build_post(image)
        connections = [await client.connect() for _ in range(64)]
        in_flight = asyncio.create_task(
            asyncio.to_thread(
                httpx.post, f"{slow_service.url}/v1/classify", files=batch, timeout=60
            )
        )
        await asyncio.sleep(0.5)  # of the second that its forward pass takes
        for _, writer in connections:
            writer.write(request)
            await writer.drain()
        await asyncio.sleep(0.1)
        for _, writer in connections:
            writer.transport.abort()
        # Some of the 64 were too many, and after that everyone is refused for a moment.
        async with asyncio.timeout(10):
            while (answer := await client.ask(request)).status == 503:
                await asyncio.sleep(0.1)
        client.close()
        return answer, await in_flight

    answer, in_flight = asyncio.run(run())

    assert (answer.status, in_flight.status_code) == (200, 200)
    assert len(in_flight.json()["predictions"]) == 32
    # The form, the last request, and at most one batch that had begun; not all 97.
    assert images_so_far(slow_service) - before <= 32 + 1 + 32


@pytest.mark.parametrize("seconds", ["0.02", "1e300"])
def test_client_says_how_long_it_waits(slow_service, image, seconds):
    headers = {"X-Request-Timeout-Seconds": seconds}

    answer = httpx.post(
        f"{slow_service.url}/v1/classify", content=image, headers=headers, timeout=60
    )

    if seconds == "0.02":
        assert answer.status_code == 504
        assert "no answer" in answer.json()["error"]
    else:
        assert answer.status_code == 200


def test_timeout_of_the_protocol_is_honoured(slow_service, image):
    tensor = {
        "name": "image",
        "shape": [1, 1],
        "datatype": "BYTES",
        "data": [base64.b64encode(image).decode()],
    }
    url = f"{slow_service.url}/v2/models/inception_v3_image/infer"

    soon = httpx.post(
        url, content=json.dumps({"parameters": {"timeout": 9000}, "inputs": [tensor]})
    )
    late = httpx.post(
        url, content=json.dumps({"parameters": {"timeout": 2**63 - 1}, "inputs": [tensor]})
    )
    (call,) = asyncio.run(call_grpc(slow_service, image, timeout=9000))

    assert (soon.status_code, late.status_code) == (504, 200)
    assert "0.009 s" in soon.json()["error"]
    assert call == str(grpc.StatusCode.DEADLINE_EXCEEDED)
