"""What the Batch API's replies may hold, against a server of Python's own."""

from __future__ import annotations

import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rowfleet import received
from rowfleet.analysis import Misconfigured
from submitter.batch_api import client
from submitter.batch_api.client import BatchAPI, Unanswered

#: Bytes of a reply, at most, in these tests.
MOST = 1 << 20


@contextmanager
def api(status: int, body: bytes) -> Iterator[BatchAPI]:
    """A client of a server that always answers so, packed."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(body) + packer.flush()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield BatchAPI("sk-test", f"http://127.0.0.1:{server.server_port}/v1", model="m")
    finally:
        server.shutdown()
        server.server_close()


CALLS: dict[str, Callable[[BatchAPI], Any]] = {
    "retrieve": lambda api: api.retrieve("b-1"),
    "find": lambda api: api.find("token", 0),
    "find_files": lambda api: api.find_files("name", 0),
}
everything = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@everything
@pytest.mark.parametrize("status", [200, 400])
def test_a_reply_that_would_fill_the_memory_is_not_read(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[BatchAPI], Any], status: int
) -> None:
    monkeypatch.setattr(client, "MAX_REPLY", MOST)
    large = json.dumps({"data": [], "id": "x" * 2 * MOST}).encode()
    with api(status, large) as asked, pytest.raises(Unanswered, match="larger than 1 MiB"):
        call(asked)


def test_a_file_is_as_long_as_it_is_and_an_error_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REPLY", MOST)
    content = b"x" * 3 * MOST
    kept = io.BytesIO()
    with api(200, content) as asked:
        asked.download("f-1", kept)
    assert kept.getvalue() == content
    with api(500, content) as asked, pytest.raises(Unanswered, match="larger than 1 MiB"):
        asked.download("f-1", kept)


def test_a_file_that_would_fill_the_disk_stops_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_FILE", MOST)
    kept = io.BytesIO()
    with api(200, b"x" * MOST) as asked:
        asked.download("f-1", kept)
    assert len(kept.getvalue()) == MOST
    kept = io.BytesIO()
    with (
        api(200, b"x" * 3 * MOST) as asked,
        pytest.raises(Misconfigured, match="file f-1 is larger than 1 MiB"),
    ):
        asked.download("f-1", kept)
    assert len(kept.getvalue()) <= MOST


def test_a_line_that_would_fill_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MAX_REPLY", 4)
    file = io.BytesIO(b"a\n\nbcd\nefgh\nijklm\nnopqrstuvwxyz\nA\nBCDE")
    assert list(received.lines(file)) == [b"a\n", b"\n", b"bcd\n", b"efgh\n", b"A\n", b"BCDE"]
    assert list(received.lines(io.BytesIO(b"a\nbcdef"))) == [b"a\n"]
