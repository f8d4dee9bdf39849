"""A reverse proxy that spoils some answers, for tests of what the clients make of it."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOT_PASSED_ON = {"content-length", "transfer-encoding", "connection", "date"}
Fault = Callable[[str, str], str | None]  # (method, path) -> "503", "short", "cut" or None


@contextmanager
def faulty_proxy(upstream: str, fault: Fault) -> Iterator[str]:
    """Pass requests on with their Host header, so that signatures hold; yields the proxy's url.

    A "short" body has a header that agrees with it, a "cut" one has not.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = fault(self.command, self.path)
            if kind == "503":
                return self.reply(503, {}, b"", 0)
            there = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    there.putheader(name, value)
            there.endheaders(body)
            answer = there.getresponse()
            data = answer.read()
            there.close()
            sent = data[: len(data) // 2] if kind in ("short", "cut") else data
            declared = answer.headers.get("Content-Length", len(data))
            length = len(sent) if kind == "short" else declared
            self.close_connection = kind == "cut"
            return self.reply(answer.status, answer.headers, sent, length)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def reply(self, status, headers, data, length) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
