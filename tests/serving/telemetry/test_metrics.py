"""What Prometheus and the log see, over two replicas."""

import json
import re
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.support.images import encode, photo
from tests.support.processes import replicas
from tests.support.service import TOKENS, RunningService, wait_until

pytestmark = pytest.mark.ray

_HEADERS = {"Authorization": f"Bearer {TOKENS[0]}"}
_SAMPLE = re.compile(r"ray_(labelmill_\w+)\{(.*)\} (\S+)")
_RAY_S_OWN = (":44217", ":44227")  # its autoscaler and its dashboard

_REPORT_S = 1  # as `guarded` has it
_REQUESTS = {
    ("labelmill_requests_total", "http 200"): 60,
    ("labelmill_requests_total", "http 401"): 1,
    ("labelmill_requests_total", "http 422"): 7,
    ("labelmill_refused_requests_total", "413"): 1,  # the proxy did that
}
_IMAGES = {("labelmill_images_total", "ok"): 60, ("labelmill_images_total", "unreadable"): 7}


def scrape(service: RunningService) -> dict[tuple[str, str], float]:
    """Return the sums over all processes: (name, the labels that are ours) → value.

    Ray writes where to ask into its session's folder, in Prometheus' own format. Two of its own
    processes, with nothing of ours, have fixed ports: another Ray's may be there, and go away.
    """
    path = service.ray_folder / "prom_metrics_service_discovery.json"
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for target in [each for group in json.loads(path.read_text()) for each in group["targets"]]:
        try:
            text = httpx.get(f"http://{target}/metrics", trust_env=False).text
        except httpx.ConnectError:
            assert target.endswith(_RAY_S_OWN), target
            continue
        for name, labels, value in _SAMPLE.findall(text):
            found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            ours = [found[key] for key in ("protocol", "status", "outcome", "le") if key in found]
            sums[name, " ".join(ours)] += float(value)
    return sums


@pytest.fixture(scope="module")
def counted(guarded) -> tuple[dict, int]:
    """Ask for this and that; return by how much the sums have grown, and the replicas asked."""
    good, bad = encode(photo(400, 300), "JPEG"), b"\xff\xd8\xff\xe0 no jpeg"
    large = encode(photo(40, 30), "PNG") + bytes(70_000_000)

    def post(body: bytes, headers=_HEADERS) -> int:
        url = f"{guarded.url}/v1/classify"
        return httpx.post(url, content=body, headers=headers, timeout=60).status_code

    time.sleep(2 * _REPORT_S)  # what others have asked is reported by now
    before = scrape(guarded)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(post, [good] * 60 + [bad] * 7))
    statuses += [post(good, {}), post(large)]
    assert sorted(statuses) == [200] * 60 + [401, 413] + [422] * 7

    grown: dict[tuple[str, str], float] = {}

    def are_all_there() -> bool:  # each process reports when it likes
        with suppress(httpx.TransportError):  # one of Ray's own is busy, or is started anew
            now = scrape(guarded)
            grown.update({key: now[key] - before.get(key, 0) for key in now})
        return all(grown.get(key, 0) >= count for key, count in (_REQUESTS | _IMAGES).items())

    wait_until(are_all_there, 60)
    return grown, len(replicas(guarded))


def test_images_add_up_over_replicas_by_outcome(counted):
    found, replica_count = counted

    assert replica_count == 2
    assert {key: found[key] for key in _IMAGES} == _IMAGES


def test_requests_are_counted_refused_ones_too(counted):
    found, _ = counted

    assert {key: found[key] for key in _REQUESTS} == _REQUESTS


def test_histograms_add_up(counted):
    found, _ = counted

    for name in ("decode_seconds", "queue_seconds"):
        assert found[f"labelmill_{name}_count", ""] == 60
        assert found[f"labelmill_{name}_bucket", "+Inf"] == 60
    # Of a histogram's sum Ray only has an estimate, from its buckets; the mean size of a batch is
    # the images that queued divided by the passes.
    batches = found["labelmill_forward_seconds_count", ""]
    assert found["labelmill_batch_size_count", ""] == batches
    assert 60 / 32 < batches < 60


def test_log_has_a_line_of_json_for_each_request(guarded):
    """Serve keeps JSON in its session's folder; what the console shows is for people."""
    headers = _HEADERS | {"x-request-id": "seen-again-in-the-log"}
    httpx.get(f"{guarded.url}/v1/models", headers=headers)
    folder = guarded.ray_folder / "session_latest" / "logs" / "serve"

    def lines() -> list[dict]:
        texts = [path.read_text() for path in folder.glob("replica_*.log")]
        found = [
            line for text in texts for line in text.splitlines() if headers["x-request-id"] in line
        ]
        return [json.loads(line) for line in found]

    wait_until(lines)
    (line,) = [each for each in lines() if "milliseconds" in each]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/models", 200)
    assert line["request_id"] == headers["x-request-id"]
    assert line["milliseconds"] >= 0
    assert TOKENS[0] not in json.dumps(lines())
