"""An HTTP server of Python's own in the API's place, for TLS, proxies and redirects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from select import select
from socket import create_connection
from typing import Any

from tests.support.replies import RIGHT, completion


class Handler(BaseHTTPRequestHandler):
    """Answers a right completion, or carries a connection through; keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, dict[str, str]]]
    #: What the reply holds, and how it says that it is encoded.
    body = completion(content=RIGHT).encode()
    encoding: str | None = None
    #: Where all that is posted is redirected to.
    to = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        body = self.body
        self.send_response(307 if self.to else 200)
        self.send_header("Location", self.to)
        self.send_header("Content-Length", str(len(body)))
        if self.encoding is not None:
            self.send_header("Content-Encoding", self.encoding)
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.seen.append((self.path, {}))
        host, _, port = self.path.rpartition(":")
        self.send_response(200)
        self.end_headers()
        with create_connection((host, int(port))) as other:
            ends = {self.connection: other, other: self.connection}
            while True:
                for end in select(list(ends), [], [])[0]:
                    data = end.recv(65_536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end].sendall(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def server(
    wrap: Callable[[Any], Any] = lambda plain: plain, **answer: Any
) -> Iterator[tuple[int, list[Any]]]:
    seen: list[Any] = []
    ours = type("Ours", (Handler,), {"seen": seen, **answer})
    made = ThreadingHTTPServer(("127.0.0.1", 0), ours)
    made.socket = wrap(made.socket)
    made.handle_error = lambda *_: None  # type: ignore[method-assign]  # says nothing of a handshake that the client refused, as it should
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield made.server_port, seen
    finally:
        made.shutdown()
        made.server_close()
