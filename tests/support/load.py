"""A load generator that leaves the CPU to the service: raw sockets, requests made once."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came back; a status of 0 is a connection that broke."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    at: float

    def json(self) -> Any:
        return json.loads(self.body)


def build_post(image: bytes, path: str = "/v1/classify", **headers: str) -> bytes:
    """Return the bytes of a request; underscores in header names become dashes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: image/jpeg"]
    lines += [f"Content-Length: {len(image)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + image


def build_form_post(image: bytes, path: str) -> bytes:
    """Return the bytes of a request that sends the image as the file `image` of a form."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = head + image + b"\r\n--x--\r\n"
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: multipart/form-data; boundary=x"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Client:
    """Asks one service, over connections that it keeps."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> Answer:
        started = time.monotonic()
        try:
            reader, writer = self._idle.pop() if self._idle else await self.connect()
            writer.write(request)
            status, headers, body = await read_answer(reader)
        except (OSError, EOFError, ValueError):
            now = time.monotonic()
            return Answer(0, {}, b"", now - started, now)
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        now = time.monotonic()
        return Answer(status, headers, body, now - started, now)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def ask_in_turn(
    url: str, requests: Sequence[bytes], callers: int, seconds: float
) -> list[Answer]:
    """Let `callers` ask, each again as soon as it is answered; the first `seconds / 4` warm up."""
    client, answers = Client(url), []
    began = time.monotonic()

    async def call(number: int) -> None:
        while time.monotonic() < began + seconds:
            answers.append(await client.ask(requests[number % len(requests)]))
            number += callers

    await asyncio.gather(*map(call, range(callers)))
    client.close()
    return answers


async def ask_at_rate(
    url: str, requests: Sequence[bytes], per_second: float, seconds: float
) -> list[Answer]:
    """Ask at a steady rate, whether or not there are answers."""
    client, tasks = Client(url), []
    began = time.monotonic()
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        tasks.append(asyncio.create_task(client.ask(requests[number % len(requests)])))
    answers = list(await asyncio.gather(*tasks))
    client.close()
    return answers


def rate(answers: Sequence[Answer], since: float, until: float, status: int = 200) -> float:
    """Return how many answers of `status` came, per second."""
    return sum(a.status == status and since <= a.at < until for a in answers) / (until - since)


def statuses(answers: Sequence[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    status = int(head[0].split()[1])
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, headers, body
    return status, headers, await reader.readexactly(int(headers.get("content-length", 0)))
