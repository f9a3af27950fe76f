"""What the Batch API's replies may hold, against a server of Python's own."""

from __future__ import annotations

import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rowfleet import received
from rowfleet.analysis import Misconfigured
from submitter.batch_api import client
from submitter.batch_api.client import BatchAPI, Remote, Unanswered

REMOTE = Remote("b-2", "completed", None, None, 0, 0, (), 1_700_000_000)

#: Bytes of a reply, at most, in these tests.
MOST = 1 << 20


@contextmanager
def api(status: int, body: bytes) -> Iterator[BatchAPI]:
    """A client of a server that always answers so, packed."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(body) + packer.flush()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

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
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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
MAKING: dict[str, Callable[[BatchAPI], Any]] = {
    "upload": lambda api: api.upload("name", io.BytesIO(b"x")),
    "create": lambda api: api.create("f-1", "/v1/responses", batch_id="b", part=1, token="token"),
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


#: A batch as the API describes it, and what gateways were seen to put in its fields, or might.
BATCH = {
    "id": "b-1",
    "object": "batch",
    "endpoint": "/v1/responses",
    "status": "completed",
    "errors": None,
    "output_file_id": "f-2",
    "error_file_id": None,
    "created_at": 1_700_000_000,
    "completed_at": 1_700_000_001,
    "request_counts": {"total": 1, "completed": 1, "failed": 0},
    "metadata": {"rowfleet_token": "another"},
}
ODD = [None, 1e300, True, "x", [1], {"data": "x"}, {"data": [1]}]


@pytest.mark.parametrize("call", [*CALLS.values(), *MAKING.values()], ids=[*CALLS, *MAKING])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"5", b'"x"', b"{}", b"[]", b"[1]", b"\xff\xfe", b"<html>", b"[" * 9_000),
        *(b'{"data": null}', b'{"data": {"a": 1}}', b'{"data": [null]}', b'{"data": [{}]}'),
    ],
)
def test_a_reply_that_is_none_is_asked_for_again(
    call: Callable[[BatchAPI], Any], body: bytes
) -> None:
    with api(200, body) as asked, pytest.raises(Unanswered, match="could not be read"):
        call(asked)


@pytest.mark.parametrize("field", BATCH)
def test_an_odd_field_of_a_batch_ends_no_follower(field: str) -> None:
    for odd in ODD:
        batch = {**BATCH, field: odd}
        with api(200, json.dumps(batch).encode()) as asked, suppress(Unanswered):
            asked.retrieve("b-1")
        listed = {"object": "list", "data": [batch], "has_more": False}
        with api(200, json.dumps(listed).encode()) as asked:
            with suppress(Unanswered):
                asked.find("token", 0)
            with suppress(Unanswered):
                asked.had_company(REMOTE)


def test_what_a_batch_says_oddly_is_left_out() -> None:
    odd = {"errors": "x", "output_file_id": 5, "created_at": "x", "request_counts": [1]}
    with api(200, json.dumps({**BATCH, **odd, "completed_at": {}}).encode()) as asked:
        assert asked.retrieve("b-1") == Remote("b-1", "completed", None, None, 0, 0, ())
    problems = [1, None, {"code": "a", "message": None}, {"code": 5, "message": "b"}]
    errors = {"errors": {"data": problems}, "created_at": 1.0}
    with api(200, json.dumps({**BATCH, **errors}).encode()) as asked:
        seen = asked.retrieve("b-1")
    assert seen.problems == (("", ""), ("", ""), ("a", ""), ("5", "b"))
    assert (seen.created_at, seen.ended_at, seen.completed) == (1, 1_700_000_001, 1)


def test_a_gateway_without_pages_is_asked_twice() -> None:
    page = {"object": "list", "data": [BATCH], "has_more": True}
    with api(200, json.dumps(page).encode()) as asked:
        assert asked.find("token", 0) is None
        assert asked.find("another", 0) is not None
