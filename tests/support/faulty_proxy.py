"""A reverse proxy that spoils some answers, for tests of what the clients make of it."""

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOT_PASSED_ON = {"content-length", "transfer-encoding", "connection", "date"}
SLOW_S = 0.3
ERRORS = {
    "503": (503, "SlowDown"),
    "500": (500, "InternalError"),
    "429": (429, "TooManyRequests"),
    "403": (403, "AccessDenied"),
    "archived": (403, "InvalidObjectState"),
    "expired": (400, "ExpiredToken"),
    "expired 403": (403, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "signature": (403, "SignatureDoesNotMatch"),
}
# (method, path) -> one of ERRORS, None for an answer as it is, or:
# "reset": the connection is reset, and the server has not seen the request
# "lost": the same, but it has
# "short": half a body, with a header that agrees with it; "cut": with the header of the whole
# "flip": a body with a bit changed; "flip sent": the server gets such a body
# "drop": a listing without its first key, well-formed
# "kms": a body that is not what its etag says, as encrypted objects are
# "empty": status 200 and no body; "slow": after SLOW_S
Fault = Callable[[str, str], str | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: str
    fault: Fault

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = type(self).fault(self.command, self.path)
        if kind in ERRORS:
            return self.refuse(*ERRORS[kind])
        if kind == "reset":
            return self.reset()
        if kind == "empty":
            return self.reply(200, {}, b"", 0)
        status, headers, data = self.pass_on(flipped(body) if kind == "flip sent" else body)
        if kind == "lost":
            return self.reset()
        if kind == "slow":
            time.sleep(SLOW_S)
        if kind in ("flip", "kms"):
            data = flipped(data)
        if kind == "kms":
            headers["x-amz-server-side-encryption"] = "aws:kms"
        if kind == "drop":
            data = re.sub(rb"<Contents>.*?</Contents>", b"", data, count=1)
            headers.replace_header("Content-Length", str(len(data)))
        sent = data[: len(data) // 2] if kind in ("short", "cut") else data
        length = len(sent) if kind == "short" else headers.get("Content-Length", len(data))
        self.close_connection = kind == "cut"
        return self.reply(status, headers, sent, length)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def pass_on(self, body):
        there = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=30)
        there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                there.putheader(name, value)
        there.endheaders(body)
        answer = there.getresponse()
        data = answer.read()
        there.close()
        return answer.status, answer.headers, data

    def refuse(self, status, code) -> None:
        body = f"<Error><Code>{code}</Code><Message>as asked</Message></Error>".encode()
        self.reply(status, {}, b"" if self.command == "HEAD" else body, len(body))

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def reply(self, status, headers, data, length) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # connections that were broken on purpose


@contextmanager
def faulty_proxy(upstream: str, fault: Fault) -> Iterator[str]:
    """Pass requests on with their Host header, so that signatures hold; yields the proxy's url.

    Afterwards nobody answers there any more.
    """
    handler = type("Handler", (_Handler,), {"upstream": upstream, "fault": staticmethod(fault)})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
    handler.fault = staticmethod(lambda *_: "reset")


def flipped(data: bytes) -> bytes:
    """Change one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data
