"""Hostile requests beside good ones, none of which may fail."""

import asyncio
import base64
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.support.images import encode, photo
from tests.support.load import Client, read_answer
from tests.support.processes import MEBIBYTE, peak_bytes, proxy, replicas, reset_peak
from tests.support.service import PATIENCE_S, RunningService

pytestmark = pytest.mark.ray

_GOOD = encode(photo(400, 300), "JPEG")
_INFER = "/v2/models/inception_v3_image/infer"


@pytest.fixture(autouse=True)
def good_requests(hasty) -> Iterator[None]:
    """Send good requests all the while; none may fail."""
    done, statuses = False, []

    def send() -> None:
        while not done:
            statuses.append(hasty.post(_GOOD).status_code)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        yield
        done = True
        sending.result()
    assert set(statuses) == {200}


def exchange(service: RunningService, *parts: bytes, pause_s: float = 0, eof: bool = False):
    """Send bytes as they are; return the first answer, None where the connection just ends."""

    async def run():
        reader, writer = await Client(service.url).connect()
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause_s)
            if eof:
                writer.write_eof()
            return await asyncio.wait_for(read_answer(reader), 20)
        except (EOFError, OSError):
            return None
        finally:
            writer.close()

    return asyncio.run(run())


def post(service: RunningService, body, path: str = "/v1/classify", **headers: str):
    return httpx.post(f"{service.url}{path}", content=body, headers=headers, timeout=60)


def head(*lines: str, path: str = "/v1/classify") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


@pytest.mark.parametrize("image", [b"", _GOOD[:-100], _GOOD[:30], b"GIF89a", b"\0" * 100_000])
def test_damaged_image_is_refused_in_words(hasty, image):
    answer = post(hasty, image)

    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_refused_before_it_is_in_memory(hasty, chunked):
    watched = [proxy(hasty), *replicas(hasty)]
    for pid in watched:
        reset_peak(pid)
    before = [peak_bytes(pid) for pid in watched]
    piece = bytes(MEBIBYTE)
    lengths = {} if chunked else {"Content-Length": str(100 * MEBIBYTE)}

    answer = post(hasty, (piece for _ in range(100)), **lengths)

    grown = [peak_bytes(pid) - old for pid, old in zip(watched, before, strict=True)]
    assert answer.status_code == 413
    assert "exceeds the limit" in answer.json()["error"]
    # One that does not say how long it is has to be counted: up to the limit of 64 MiB.
    assert grown[0] < (90 if chunked else 20) * MEBIBYTE
    assert max(grown[1:]) < 20 * MEBIBYTE


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs": [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": '
        + b"[" * 50_000
        + b"]" * 50_000
        + b"}]}",
        b'{"inputs": [{"name": "image", "shape": [99999999999999999999], "datatype": "BYTES"}]}',
        b'{"inputs": [{"name": "image", "shape": [-1, 1], "datatype": "BYTES", "data": []}]}',
        b'{"inputs": [{"name": "image", "shape": [1e999], "datatype": "BYTES", "data": [NaN]}]}',
        b"\xff\xfe{}",
        b"null",
    ],
)
def test_odd_json_is_a_bad_request(hasty, body):
    answer = post(hasty, body, path=_INFER)

    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Inference-Header-Content-Length": "99999999"},
        {"Inference-Header-Content-Length": "-1"},
        {"Inference-Header-Content-Length": "1e3"},
        {"Inference-Header-Content-Length": "3"},
    ],
)
def test_lie_about_the_json_part_is_a_bad_request(hasty, headers):
    answer = post(hasty, b'{"inputs": []}' + _GOOD, path=_INFER, **headers)

    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ({"Content-Type": "image/png"}, {200}),  # what it is, its bytes tell
        ({"Content-Type": "text/html"}, {415}),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 1000}, {400}),
        ({"Content-Encoding": "br"}, {415}),
        ({"Content-Encoding": "gzip"}, {400}),
        ({"Content-Encoding": "gzip, gzip"}, {415}),
        ({"X-Request-Timeout-Seconds": "soon"}, {400}),
        ({"X-Request-Timeout-Seconds": "-1"}, {400}),
        ({"X-Request-Timeout-Seconds": "1e300"}, {200}),
        ({"X-Request-ID": "x" * 5000}, {200}),
    ],
)
def test_lying_header_is_seen_through(hasty, headers, statuses):
    answer = post(hasty, _GOOD, **headers)

    assert answer.status_code in statuses
    assert answer.status_code == 200 or answer.json()["error"]


@pytest.mark.parametrize("times", [1, 2])
def test_body_that_bursts_when_unpacked_costs_little(hasty, times):
    (pid,) = replicas(hasty)
    bomb = gzip.compress(bytes(300 * MEBIBYTE))
    if times == 2:
        bomb = gzip.compress(bomb)
    reset_peak(pid)
    before = peak_bytes(pid)

    answer = post(hasty, bomb, **{"Content-Encoding": "gzip"})

    assert answer.status_code == (413 if times == 1 else 422)
    assert peak_bytes(pid) - before < 140 * MEBIBYTE  # the limit for a body is 64


def test_content_length_that_is_too_long_costs_only_its_connection(hasty):
    lie = head(f"Content-Length: {len(_GOOD) + 1000}")

    waited, ended = (
        exchange(hasty, lie, _GOOD),
        exchange(hasty, lie, _GOOD, eof=True),
    )

    assert waited[0] == 504
    assert f"did not arrive within {PATIENCE_S} s" in json.loads(waited[2])["error"]
    assert ended is None or ended[0] == 400


def test_content_length_that_is_too_short_cuts_the_image(hasty):
    status, _, body = exchange(hasty, head(f"Content-Length: {len(_GOOD) // 2}"), _GOOD)

    # 400 where the rest, which is no request, is seen before the first is answered.
    assert status in (400, 422)
    assert b"JPEG" in body or b"Invalid HTTP" in body


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -5"],
        ["Content-Length: many"],
        ["Content-Length: 5", "Content-Length: 7"],
        ["Content-Length: 99999999999999999999999999"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
    ],
)
def test_content_length_that_is_none_is_refused(hasty, lines):
    found = exchange(hasty, head(*lines), b"zzzzz\r\n", eof=True)

    assert found is None or 400 <= found[0] < 500


def test_slow_uploads_hold_no_place_and_end(hasty):
    async def trickle():
        reader, writer = await Client(hasty.url).connect()
        writer.write(head("Content-Length: 100000"))
        answer = asyncio.create_task(read_answer(reader))
        pieces = 0
        while not answer.done():
            writer.write(b"x")
            pieces += 1
            await asyncio.sleep(0.3)
        status, headers, _ = await answer
        writer.close()
        return status, headers.get("connection"), pieces

    async def run():
        slow = [asyncio.create_task(trickle()) for _ in range(200)]
        await asyncio.sleep(1)
        good = await asyncio.to_thread(hasty.post, _GOOD)
        return good, await asyncio.gather(*slow)

    good, slow = asyncio.run(run())

    assert good.status_code == 200
    assert {(status, connection) for status, connection, _ in slow} == {(504, "close")}
    assert max(pieces for *_, pieces in slow) < 3 * PATIENCE_S / 0.3


def test_form_of_ten_thousand_parts_is_refused(hasty):
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nz\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}

    answer = post(hasty, part * 10_000 + b"--x--\r\n", **form)

    assert answer.status_code in (400, 413)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "lines", [["X: y"] * 20_000, ["X: " + "y" * 5_000_000], ["Y" * 1_000_000 + ": z"]]
)
def test_flood_of_headers_costs_little(hasty, lines):
    pid = proxy(hasty)
    reset_peak(pid)
    before = peak_bytes(pid)

    found = exchange(hasty, head("Content-Length: 0", *lines), eof=True)

    assert found is None or 400 <= found[0] < 500
    assert peak_bytes(pid) - before < 50 * MEBIBYTE


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/a.jpg", "file:///etc/passwd", "s3://b/k"])
def test_nothing_is_fetched_that_a_client_names(hasty, uri):
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[uri.encode()]], dtype=object))
    data = [base64.b64encode(uri.encode()).decode()]
    body = {"inputs": [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": data}]}

    with (
        triton.InferenceServerClient(hasty.grpc) as client,
        pytest.raises(InferenceServerException, match="not an image"),
    ):
        client.infer("inception_v3_image", [tensor])

    for answer in (
        post(hasty, uri.encode()),
        post(hasty, json.dumps(body), path=_INFER),
    ):
        assert answer.status_code == 422
        assert "not an image" in answer.json()["error"]
