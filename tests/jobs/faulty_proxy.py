"""A reverse proxy that spoils some answers, for tests of what the clients make of it."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# (method, path) -> "503", "short" (fewer bytes, and a header that agrees), "cut" (fewer bytes than
# the header says) or None
Fault = Callable[[str, str], str | None]


@contextmanager
def faulty_proxy(upstream: str, fault: Fault) -> Iterator[str]:
    """Pass requests on with their Host header, so that signatures hold; yields the proxy's url."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = fault(self.command, self.path)
            if kind == "503":
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            self._answer(connection.getresponse(), kind)
            connection.close()

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def _answer(self, answer: http.client.HTTPResponse, kind: str | None) -> None:
            data = answer.read()
            sent = data[: len(data) // 2] if kind in ("short", "cut") else data
            length = (
                len(sent) if kind == "short" else answer.headers.get("Content-Length", len(data))
            )
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "connection",
                    "date",
                ):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(sent)
            self.close_connection = kind == "cut"

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
