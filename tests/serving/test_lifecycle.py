"""A service's life: warm-up, more and fewer replicas, updates, hangs and its end."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.support.images import encode, photo
from tests.support.load import ask_in_turn, build_post
from tests.support.processes import is_running, of_session, replicas, unread_bytes
from tests.support.service import FAULTS, RunningService, run_service, wait_until

pytestmark = pytest.mark.ray

_IMAGE = encode(photo(400, 300), "JPEG")


@contextmanager
def steady_requests(service: RunningService, callers: int) -> Iterator[Counter[int]]:
    """Ask all the while; give the statuses so far."""
    found: Counter[int] = Counter()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers = asyncio.run(ask_in_turn(service.url, [build_post(_IMAGE)], callers, 0.5))
            found.update(answer.status for answer in answers)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def test_replicas_come_and_go_with_the_load(cluster):
    scaling = {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 2,
        "upscale_delay_s": 0.5,
        "downscale_delay_s": 2,
        "look_back_period_s": 2,
        "metrics_interval_s": 0.5,
    }
    service = cluster.service
    cluster.deploy({"max_replicas": 2}, autoscaling_config=scaling)
    cluster.wait_until_running()

    with steady_requests(service, 1) as found:
        assert len(replicas(service)) == 1
        with steady_requests(service, 8) as more:
            wait_until(lambda: running_replicas(cluster) == 2, 60)
            time.sleep(2)  # both answer
        wait_until(lambda: len(replicas(service)) == 1, 60)

    assert (found + more).keys() == {200}
    assert more[200] > 16


def running_replicas(cluster) -> int:
    found = cluster.status()["deployments"]["labelmill"]["replicas"]
    return sum(each["state"] == "RUNNING" for each in found)


def test_update_loses_no_request(cluster):
    service = cluster.service
    cluster.deploy({"max_replicas": 1})
    cluster.wait_until_running()
    before = replicas(service)

    with steady_requests(service, 3) as found:
        cluster.deploy({"max_replicas": 1, "request_timeout_s": 20})
        wait_until(lambda: not set(before).intersection(replicas(service)), 90)
        cluster.wait_until_running()

    assert found.keys() == {200}
    assert len(replicas(service)) == 1


def test_end_answers_what_is_in_flight(tmp_path):
    slow = FAULTS | {"FORWARD_SECONDS": "0.15"}

    with run_service(tmp_path, "max_replicas=1", environment=slow, wait=False) as service:
        answer = ask_when_ready(service)
        assert answer.status_code == 200  # it was ready when it said so
        end_in_flight(service, 16, signal.SIGTERM)


def end_in_flight(service: RunningService, requests: int, number: signal.Signals) -> None:
    """End the service while it answers so many; none may be lost, and nothing be left of it."""
    session = of_session(service.ray_folder)
    address = urlsplit(service.url)
    asked = [HTTPConnection(address.hostname, address.port, 60) for _ in range(requests)]
    for each in asked:
        each.request("POST", "/v1/classify", _IMAGE)
    wait_until(lambda: not unread_bytes(address.port))
    service.process.send_signal(number)
    statuses = [each.getresponse().status for each in asked]
    for each in asked:
        each.close()
    service.process.wait(60)
    assert statuses == [200] * requests
    wait_until(lambda: not any(map(is_running, session)))


def ask_when_ready(service: RunningService) -> httpx.Response:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            ready = httpx.get(f"{service.url}/v2/health/ready", timeout=1)
        except httpx.TransportError:
            ready = httpx.Response(503)
        if ready.status_code == 200:
            return httpx.post(f"{service.url}/v1/classify", content=_IMAGE, timeout=5)
        time.sleep(0.05)
    raise AssertionError(service.log.read_text())


def test_replica_that_hangs_is_replaced_and_ctrl_c_ends_it_all(tmp_path):
    red = encode(Image.new("RGB", (400, 400), (254, 0, 0)), "JPEG")
    hang = FAULTS | {"HANG_ONCE": str(tmp_path / "hung")}
    patience = ("request_timeout_s=3", "hang_timeout_s=1", "max_replicas=1")

    with run_service(tmp_path, *patience, environment=hang) as service:
        before = replicas(service)
        hung = service.post(red)
        wait_until(lambda: answers(service), 60)

        assert hung.status_code == 504
        assert "no answer within 3 s" in hung.json()["error"]
        assert before != replicas(service)
        assert "has not come back for 1 s" in service.log.read_text()
        end_in_flight(service, 4, signal.SIGINT)


def test_replica_that_stands_still_makes_nobody_wait_for_ever(hasty):
    (pid,) = replicas(hasty)
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = httpx.post(f"{hasty.url}/v1/classify", content=_IMAGE, timeout=60)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert answer.status_code == 504
    assert answer.json() == {"error": "no answer in time"}
    wait_until(lambda: answers(hasty))


def answers(service: RunningService) -> bool:
    try:
        answer = httpx.post(f"{service.url}/v1/classify", content=_IMAGE, timeout=5)
    except httpx.TransportError:
        return False
    return answer.status_code == 200
