"""What holds for all replicas together: statistics, and the repository's models."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from tests.support import processes
from tests.support.images import encode, photo
from tests.support.service import run_service, wait_until

pytestmark = pytest.mark.ray

IMAGES = [encode(photo(40, 30, seed), "PNG") for seed in range(3)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A service with two replicas, whose models this module may unload and which it may kill."""
    folder = tmp_path_factory.mktemp("pair")
    with run_service(
        folder, "min_replicas=2", "max_replicas=2", "num_cpus=0.1", "max_queue_s=60"
    ) as running:
        wait_until(lambda: len(_alive(processes.replicas(running))) == 2, 60)
        yield running


def _alive(pids):
    return {pid for pid in pids if processes.is_running(pid)}


def _ask(service, requests):
    """Ask for three images so many times, each time on a connection of its own."""
    files = [("image", ("a.png", image, "image/png")) for image in IMAGES]

    def ask(_):
        answer = httpx.post(f"{service.url}/v1/classify", files=files, timeout=60)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(requests)))


def _count(service):
    """Return how many requests and images have been answered."""
    url = f"{service.url}/v2/models/inception_v3_image/stats"
    (found,) = httpx.get(url, timeout=60).json()["model_stats"]
    return found["inference_stats"]["success"]["count"], found["inference_count"]


def test_statistics_rise_by_exactly_what_was_asked(pair):
    before = _count(pair)

    _ask(pair, 12)

    after = _count(pair)
    assert (after[0] - before[0], after[1] - before[1]) == (12, 36)


def test_failed_requests_are_counted_as_such(pair):
    def failures():
        url = f"{pair.url}/v2/models/inception_v3_image/stats"
        (found,) = httpx.get(url, timeout=60).json()["model_stats"]
        return found["inference_stats"]["fail"]["count"], found["inference_count"]

    before = failures()

    assert pair.post(b"no image").status_code == 422

    assert failures() == (before[0] + 1, before[1])


def test_killed_coordinator_costs_no_replica_and_no_count(pair):
    _ask(pair, 2)
    before, alive = _count(pair), _alive(processes.replicas(pair))
    (coordinator,) = _alive(processes.coordinators(pair))

    url = f"{pair.url}/v2/models/stats"
    controller = processes.controller(pair)
    os.kill(controller, signal.SIGSTOP)  # so that the next coordinator does not come too soon
    try:
        os.kill(coordinator, signal.SIGKILL)
        during = httpx.get(url, timeout=60)
    finally:
        os.kill(controller, signal.SIGCONT)
    wait_until(lambda: _alive(processes.coordinators(pair)) - {coordinator}, 60)
    wait_until(lambda: httpx.get(url, timeout=60).status_code == 200)

    assert during.status_code == 503
    assert "coordinator" in during.json()["error"]
    assert _alive(processes.replicas(pair)) == alive
    assert _count(pair) == before
    _ask(pair, 2)
    assert _count(pair)[0] == before[0] + 2


def test_statistics_outlive_a_killed_replica(pair):
    _ask(pair, 4)
    before = _count(pair)
    alive = _alive(processes.replicas(pair))

    os.kill(min(alive), signal.SIGKILL)
    # A request that the dead one had is lost; who asks again finds the other.
    wait_until(lambda: httpx.get(f"{pair.url}/v2", timeout=60).status_code == 200)
    assert _count(pair) == before

    wait_until(lambda: len(_alive(processes.replicas(pair)) - alive) == 1, 60)
    _ask(pair, 6)
    after = _count(pair)
    assert (after[0] - before[0], after[1] - before[1]) == (6, 18)


@pytest.fixture(params=["http", "grpc"])
def client(request, pair):
    wait_until(lambda: len(_alive(processes.replicas(pair))) == 2, 60)
    if request.param == "http":
        with http_client.InferenceServerClient(pair.url.removeprefix("http://")) as client:
            yield client
    else:
        with grpc_client.InferenceServerClient(pair.grpc) as client:
            yield client


def _states(service):
    """Return what the replicas say of the models, which must be the same."""
    answers = [httpx.post(f"{service.url}/v2/repository/index").json() for _ in range(8)]
    assert all(answer == answers[0] for answer in answers)
    return {each["name"]: each["state"] for each in answers[0]}


def test_unloading_and_loading_reach_all_replicas(pair, client):
    client.unload_model("inception_v3")

    assert _states(pair) == {"inception_v3": "UNAVAILABLE"}
    assert {pair.post(IMAGES[0]).status_code for _ in range(8)} == {404}
    assert not client.is_model_ready("inception_v3_image")
    with pytest.raises(InferenceServerException, match="inception_v3"):
        client.unload_model("inception_v3")

    client.load_model("inception_v3")

    assert _states(pair) == {"inception_v3": "READY", "inception_v3_image": "READY"}
    assert {pair.post(IMAGES[0]).status_code for _ in range(8)} == {200}


def test_loading_anew_keeps_answering(pair, client):
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(client.load_model, "inception_v3")
        statuses = {pair.post(IMAGES[0]).status_code for _ in range(8)}
        loading.result(60)

    assert statuses == {200}


def test_what_cannot_be_loaded_is_refused(pair, client):
    for name, options, codes in (
        ("nope", {}, {"404", "StatusCode.NOT_FOUND"}),
        ("../etc", {}, {"404", "StatusCode.NOT_FOUND"}),
        ("inception_v3", {"config": "{}"}, {"501", "StatusCode.UNIMPLEMENTED"}),
    ):
        with pytest.raises(InferenceServerException) as caught:
            client.load_model(name, **options)
        assert caught.value.status() in codes
    assert _states(pair)["inception_v3"] == "READY"
