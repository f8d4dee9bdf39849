"""Batches: nobody waits on an idle server, full ones under load, other sizes without a restart."""

import asyncio
import statistics
from pathlib import Path

import pytest

from tests.support.load import Answer, ask_in_turn, build_post
from tests.support.processes import replicas
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.ray


@pytest.fixture
def requests(sample_photos) -> list[bytes]:
    return [build_post(path.read_bytes()) for path in sample_photos if path.suffix == ".jpg"]


def timings(answers: list[Answer]) -> list[dict]:
    return [answer.json()["predictions"][0]["timing"] for answer in answers]


def ask(service: RunningService, requests: list[bytes], callers: int, seconds: float):
    answers = asyncio.run(ask_in_turn(service.url, requests, callers, seconds))
    assert {answer.status for answer in answers} == {200}
    return answers


def test_first_request_finds_everything_loaded(slow_service):
    (pid,) = replicas(slow_service)

    assert "libtorch" in Path(f"/proc/{pid}/maps").read_text()  # which resizes images


def test_lone_request_waits_for_nobody(slow_service, requests):
    found = timings(ask(slow_service, requests, 1, 3))

    assert {each["batch_size"] for each in found} == {1}
    assert min(each["queue_ms"] for each in found) < 10  # a wait by design would be all of theirs


def test_whoever_comes_while_the_model_is_busy_shares_the_next_batch(slow_service, requests):
    answers = ask(slow_service, requests, 16, 5)
    found = timings(answers[len(answers) // 3 :])
    sizes = [each["batch_size"] for each in found]

    # Of 16 callers nearly all wait while a pass runs, or are in it.
    assert statistics.mean(sizes) > 5
    assert max(sizes) <= 16


def test_no_header_keeps_requests_out_of_the_others_batch(slow_service, sample_photos):
    image = (sample_photos[0]).read_bytes()
    requests = [build_post(image, serve_multiplexed_model_id=str(each)) for each in range(16)]

    sizes = [each["batch_size"] for each in timings(ask(slow_service, requests, 16, 2))]

    assert statistics.mean(sizes) > 4


def test_model_is_never_idle_while_somebody_waits(slow_service, requests):
    answers = ask(slow_service, requests, 16, 5)
    found = timings(answers)

    # Each image waits for the pass before its own, at the most, and some of the decoding.
    longest = max(each["forward_ms"] for each in found)
    assert statistics.median(each["queue_ms"] for each in found) < 1.2 * longest


def test_user_config_changes_batches_without_a_restart(cluster, requests):
    service = cluster.service
    cluster.deploy({"max_replicas": 1})
    cluster.wait_until_running()
    before = replicas(service)

    cluster.deploy(
        {"max_replicas": 1}, user_config={"max_batch_size": 2, "batch_wait_timeout_s": 0.4}
    )

    def waits() -> bool:
        (one,) = timings(ask(service, requests, 1, 0.01))
        return one["queue_ms"] > 300

    wait_until(waits)
    sizes = {each["batch_size"] for each in timings(ask(service, requests, 8, 2))}
    assert max(sizes) == 2
    assert replicas(service) == before
