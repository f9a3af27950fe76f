"""What becomes of each reply the API or the network can give, right or broken.

Against the stand-in, and over TLS and proxies against a server of Python's own.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from socket import create_connection
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trustme

from rowfleet.analysis import (
    AnalysisError,
    Misconfigured,
    Permanent,
    Postponed,
    Question,
    Transient,
)
from rowfleet.openai_api.redirects import stay
from rowfleet.recipes.recipe import Recipe
from submitter.batch_api.client import BatchAPI
from tests.standin import Standin
from tests.support.brokers import free_port
from tests.support.ledger import ECHO
from worker.analyzers.openai.analyzer import OpenAIAnalyzer

RIGHT = json.dumps({"answer": "x", "score": 1})
USED = {"prompt_tokens": 5, "completion_tokens": 7}
HTML = {"Content-Type": "text/html"}


@pytest.fixture(scope="module")
def running() -> Iterator[Standin]:
    with Standin.lent() as standin:
        yield standin


@pytest.fixture
def standin(running: Standin) -> Standin:
    running.configure(faults=[])
    running.clear()
    return running


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(base_url: str, api: str = "chat_completions", key: str = "sk-right", **more: Any) -> Any:
    recipe = Recipe.model_validate({**ECHO.model_dump(mode="json"), "api": api})
    asked = {"row_number": 1, "cells": {"Name": "A"}, "time_limit": 20, **more}
    return OpenAIAnalyzer(key, base_url).answer(Question(recipe, "gpt-5-mini", **asked))


def error(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": code}})


def completion(**message: Any) -> str:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return json.dumps({"choices": [choice], "usage": USED})


def response(**fields: Any) -> str:
    part = {"type": "output_text", "text": RIGHT}
    reasoning = {"type": "reasoning", "summary": []}
    message = {"type": "message", "content": [part]}
    return json.dumps({"status": "completed", "output": [reasoning, message], **fields})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Permanent),
        (400, Permanent),
        (401, Misconfigured),
        (402, Misconfigured),
        (403, Transient),
        (404, Misconfigured),
        (408, Transient),
        (409, Transient),
        (413, Permanent),
        (425, Transient),
        (422, Permanent),
        (500, Transient),
        (502, Transient),
        (503, Transient),
        (504, Transient),
        (529, Transient),
    ],
)
@pytest.mark.parametrize(
    ("text", "headers", "says"),
    [
        (error("said so"), {}, "said so"),
        ('{"message": "said so"}', {}, "said so"),
        ('{"error": "no object"}', {}, "Error code"),
        ("[1]", {}, "Error code"),
        ("<h1>Bad gateway</h1>", HTML, "Error code"),
        ("", {}, "Error code"),
    ],
    ids=["json", "message", "string", "list", "html", "empty"],
)
def test_each_status_has_its_fate_whatever_its_body(
    standin: Standin,
    status: int,
    kind: type[AnalysisError],
    text: str,
    headers: dict[str, str],
    says: str,
) -> None:
    answer = {"kind": "verbatim", "status": status, "headers": headers, "text": text}
    standin.configure(faults=[answer])
    with pytest.raises(kind, match=rf"{status}.*{says}"):
        ask(standin.base_url)
    assert standin.summary()["calls"] == 1  # the SDK would try some of them again


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"RETRY-AFTER": "Thu, 01 Jan 2026 00:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_reply_says_when_to_come_again(
    standin: Standin, headers: dict[str, str], seconds: float | None
) -> None:
    standin.configure(faults=[{"kind": "verbatim", "status": 503, "headers": headers}])
    with pytest.raises(Transient) as caught:
        ask(standin.base_url)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("text", "headers", "kind", "says"),
    [
        (error("slow down"), {"Retry-After": "3600"}, Postponed, "slow down"),
        (error("slow down"), {"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests":
            "7m", "x-ratelimit-remaining-requests": "0"}, Postponed, "slow down"),
        ("<h1>busy</h1>", {**HTML, "Retry-After": "3600"}, Postponed, "429"),
        (error("no money", "insufficient_quota"), {}, Misconfigured, "quota is used up"),
        (error("Request too large"), {}, Permanent, "too large"),
        (error("busy", "resource_unavailable"), {}, Transient, "busy"),
    ],
)  # fmt: skip
def test_each_429_has_its_fate(
    standin: Standin, text: str, headers: dict[str, str], kind: type[AnalysisError], says: str
) -> None:
    answer = {"kind": "verbatim", "status": 429, "headers": headers, "text": text}
    standin.configure(faults=[answer])
    with pytest.raises(kind, match=says) as caught:
        ask(standin.base_url)
    if isinstance(caught.value, Postponed):
        assert caught.value.delay in (3600, 420)
    assert standin.summary()["calls"] == 1


@pytest.mark.parametrize("kind", ["closed", "reset", "garbage", "drop"])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_broken_connection_is_worth_another_try(
    standin: Standin, kind: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxied:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{standin.port}")
    standin.configure(faults=[{"kind": kind}])
    with pytest.raises(Transient, match="the connection failed: ") as caught:
        ask(standin.base_url)
    assert "400" not in str(caught.value)  # which is what aiohttp makes of it
    assert standin.summary()["calls"] == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"choices": [',
        "<p>Welcome to the hotel</p>",
        "",
        "[]",
        "null",
        '"x"',
        '{"choices": [{"finish_reason": "stop"}]}',
        json.dumps({"choices": [{"message": RIGHT}]}),
        "[" * 100_000,
        f'{{"a": 1e999, {completion(content=RIGHT)[1:]}',
    ],
)
@pytest.mark.parametrize("headers", [{}, HTML], ids=["json", "html"])
def test_a_200_that_is_no_answer_is_worth_another_try(
    standin: Standin, text: str, headers: dict[str, str]
) -> None:
    standin.configure(faults=[{"kind": "verbatim", "headers": headers, "text": text}])
    with pytest.raises(Transient, match="the API's reply could not be read"):
        ask(standin.base_url)


def test_what_was_paid_for_a_reply_that_can_t_be_read_is_known(standin: Standin) -> None:
    text = json.dumps({"choices": [{}], "usage": USED})
    standin.configure(faults=[{"kind": "verbatim", "text": text}])
    with pytest.raises(Transient, match="could not be read") as caught:
        ask(standin.base_url)
    assert caught.value.usage.prompt_tokens == 5


def counted(usage: object) -> str:
    """Return the text of a chat completion that is right, but for what it says of its usage."""
    return json.dumps({**json.loads(completion(content=RIGHT)), "usage": usage})


@pytest.mark.parametrize(
    ("is_counted", "api", "text", "tokens"),
    [
        (True, "chat_completions", completion(content=RIGHT), (5, 7)),
        (True, "chat_completions", counted({"prompt_tokens": 5, "completion_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": None}}), (5, 0)),
        (False, "chat_completions", json.dumps({"choices": [{"message": {"content": RIGHT}}]}),
            (0, 0)),
        (False, "chat_completions", json.dumps(
            {"choices": [{"message": {"content": RIGHT}}], "usage": None, "service_tier": 5}
        ), (0, 0)),
        (False, "chat_completions", counted([5]), (0, 0)),
        (False, "chat_completions", counted({"prompt_tokens": "5"}), (0, 0)),
        (False, "chat_completions", counted({"prompt_tokens": -1, "completion_tokens": 7}), (0, 7)),
        (False, "chat_completions", counted({"prompt_tokens": 1e19, "completion_tokens": True}),
            (0, 0)),
        (False, "chat_completions", counted({"prompt_tokens": 10**30, "completion_tokens": 7.0}),
            (0, 7)),
        (False, "chat_completions", counted({"prompt_tokens": 0, "completion_tokens": 7}), (0, 7)),
        (False, "chat_completions", counted({"prompt_tokens": 5}), (5, 0)),
        (False, "chat_completions", counted(
            {**USED, "prompt_tokens_details": {"cached_tokens": -1}}
        ), (5, 7)),
        (False, "responses", response(usage={"output_tokens": 4}), (0, 4)),
        (True, "responses", response(usage={"input_tokens": 3, "output_tokens": 4}), (3, 4)),
        (True, "responses", response(usage={"input_tokens": 3, "output_tokens": 4,
            "input_tokens_details": None, "output_tokens_details": None}), (3, 4)),
        (False, "responses", response(), (0, 0)),
    ],
)  # fmt: skip
def test_usage_may_be_missing_or_absurd(
    standin: Standin, is_counted: bool, api: str, text: str, tokens: tuple[int, int]
) -> None:
    standin.configure(faults=[{"kind": "verbatim", "text": text}])
    answer = ask(standin.base_url, api)
    assert answer.output == {"answer": "x", "score": 1}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == tokens
    assert answer.usage.calls == 1
    assert answer.usage.uncounted == (0 if is_counted else 1)


def test_a_row_asked_twice_has_an_unknown_cost_if_one_of_its_answers_has(standin: Standin) -> None:
    text = json.dumps({**json.loads(completion(content="{}")), "usage": None})
    standin.configure(faults=[{"kind": "verbatim", "attempts": 1, "text": text}])
    used = ask(standin.base_url).usage
    assert (used.calls, used.uncounted) == (2, 1)
    assert used.prompt_tokens > 0


@pytest.mark.parametrize(
    ("usage", "billed"), [(None, (0, 0, 1)), ({"prompt_tokens": 5}, (0, 0, 1)), (USED, (1, 0, 0))]
)
def test_an_error_in_an_answers_place_without_counts_is_possibly_billed(
    standin: Standin, usage: object, billed: tuple[int, int, int]
) -> None:
    text = json.dumps({**json.loads(error("provider failed", "502")), "usage": usage})
    standin.configure(faults=[{"kind": "verbatim", "text": text}])
    with pytest.raises(Transient) as caught:
        ask(standin.base_url)
    used = caught.value.usage
    assert (used.calls, used.uncounted, used.possibly_billed) == billed


@pytest.mark.parametrize(
    ("api", "text"),
    [
        ("chat_completions", "{}"),
        ("chat_completions", '{"choices": []}'),
        ("chat_completions", completion(content=None)),
        ("chat_completions", completion(content=[{"type": "text", "text": RIGHT}])),
        ("chat_completions", completion(content='"\\ud800"')),
        ("chat_completions", completion(content='{"answer": "x", "score": NaN}')),
        ("chat_completions", completion(content='{"answer": "x", "score": -Infinity}')),
        ("chat_completions", completion(content='{"answer": "x", "score": 1e999}')),
        ("chat_completions", completion(content='{"answer": "x", "score": 1' + "0" * 400 + "}")),
        ("chat_completions", completion(content="[" * 20_000)),
        ("chat_completions", completion(content='{"answer": ' + "[" * 70 + "]" * 70 + "}")),
        ("responses", response(output=[])),
    ],
)
def test_an_answer_without_the_json_asked_for_is_asked_for_once_more(
    standin: Standin, api: str, text: str
) -> None:
    standin.configure(faults=[{"kind": "verbatim", "text": text}])
    with pytest.raises(Permanent, match="not valid, twice"):
        ask(standin.base_url, api)
    assert standin.summary()["calls"] == 2


@pytest.mark.parametrize("by", ["aiohttp", "the SDK"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_reply_that_would_fill_the_memory_is_not_read(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, by: str, status: int
) -> None:
    monkeypatch.setattr("worker.analyzers.openai.endpoint.MAX_REPLY", 100_000)
    text = completion(content=json.dumps({"answer": "x" * 100_000, "score": 1}))
    standin.configure(faults=[{"kind": "verbatim", "text": text, "status": status}])
    # A base URL with a user goes through the SDK's own client.
    url = standin.base_url.replace("//", "//ann:x@") if by == "the SDK" else standin.base_url
    with pytest.raises(Transient, match="the reply is larger than 0 MiB"):
        ask(url)


def test_what_no_ledger_holds_is_replaced_in_an_answer(standin: Standin) -> None:
    text = completion(content='{"answer": "a\\u0000b\\ud83dc\\ud83d\\ude00", "score": 1}')
    standin.configure(faults=[{"kind": "verbatim", "text": text}])
    assert ask(standin.base_url).output["answer"] == "a\ufffdb\ufffdc\U0001f600"


def test_large_answers_and_long_headers_are_read(standin: Standin) -> None:
    text = completion(content=json.dumps({"answer": "x" * 5_000_000, "score": 1}))
    headers = {"X-Trace": "x" * 20_000}
    standin.configure(faults=[{"kind": "verbatim", "headers": headers, "text": text}])
    assert len(ask(standin.base_url).output["answer"]) == 5_000_000


def test_a_redirect_is_followed_with_the_question(standin: Standin) -> None:
    headers = {"Location": f"{standin.base_url}/chat/completions"}
    answer = {"kind": "verbatim", "status": 307, "headers": headers, "rows": [1], "attempts": 2}
    standin.configure(faults=[answer])
    assert ask(standin.base_url).usage.calls == 1
    assert standin.summary()["rows"] == {1: 3}  # aiohttp's, the SDK's, and where that was sent


@pytest.mark.parametrize("key", ["sk-é", "sk-a\nb", "sk-right\n", "sk-right ", "sk-\x7f"])
def test_a_key_that_can_t_be_sent_is_said_so_and_not_shown(standin: Standin, key: str) -> None:
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY has a character") as caught:
        ask(standin.base_url, key=key)
    assert key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OPENAI_ORG_ID", "örg", "OpenAI-Organization"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "SOCKS"),
        ("ALL_PROXY", "gopher://127.0.0.1:1", "gopher"),
    ],
)
def test_an_environment_no_call_can_be_made_with_is_said_so(
    standin: Standin, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=says):
        ask(standin.base_url)


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("http://127.0.0.1:1/v1", "Connect call failed"),
        ("http://[::1]:1/v1", "the connection failed"),
        ("https://127.0.0.1:{port}/v1", "SSL"),
    ],
)
def test_an_endpoint_that_can_t_be_reached_is_tried_again(
    standin: Standin, base_url: str, says: str
) -> None:
    with pytest.raises(Transient, match=says):
        ask(base_url.format(port=standin.port))


@pytest.mark.parametrize("suffix", ["", "/"])
def test_a_base_url_may_end_in_a_slash(standin: Standin, suffix: str) -> None:
    assert ask(standin.base_url + suffix).usage.calls == 1


def test_a_proxy_is_used_and_may_be_kept_out(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{standin.port}")
    assert ask("http://api.invalid/v1").usage.calls == 1  # only the proxy can be reached
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Transient, match="the connection failed"):
        ask(standin.base_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(standin.base_url).usage.calls == 1


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_the_time_limit_holds_over_a_proxy(
    standin: Standin, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{standin.port}")
    standin.configure(faults=[{"kind": kind}])
    with pytest.raises(Transient, match=r"no answer within 0\.5 s"):
        ask(standin.base_url, time_limit=0.5)


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


def test_what_the_environment_says_of_the_account_goes_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-team: audit")
    with server() as (port, seen):
        ask(f"http://127.0.0.1:{port}/deep/er/v1")
        ask(f"http://user:secret@127.0.0.1:{port}/v1")
    (path, sent), (_, with_user) = seen
    assert path == "/deep/er/v1/chat/completions"
    assert sent["authorization"] == "Bearer sk-right"
    assert sent["openai-organization"] == "org-1"
    assert sent["openai-project"] == "proj-1"
    assert sent["x-team"] == "audit"
    assert sent["content-type"] == "application/json"
    assert sent["user-agent"].startswith("AsyncOpenAI/Python")
    assert with_user["authorization"].startswith("Basic ")


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("user", ["", "ann:x@"])  # which the SDK's own client sends
def test_a_path_is_put_behind_any_base_url(user: str, base: str) -> None:
    with server() as (port, seen):
        assert ask(f"http://{user}127.0.0.1:{port}{base}").usage.possibly_billed == 0
    assert [path for path, _ in seen] == [f"{base.removesuffix('/')}/chat/completions"]


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:99999", "http://127.0.0.1:99999/v1", "http://h:x"]
)
def test_nothing_is_billed_at_a_url_that_nothing_can_be_sent_to(base: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        ask(base)
    assert caught.value.usage.possibly_billed == 0


@pytest.mark.parametrize("by", ["aiohttp", "the SDK"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_reply_is_bounded_as_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, encoding: str, by: str
) -> None:
    monkeypatch.setattr("worker.analyzers.openai.endpoint.MAX_REPLY", 4 << 20)
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    user = "ann:x@" if by == "the SDK" else ""
    with server(body=packed, encoding=encoding) as (port, seen):
        tracemalloc.start()
        try:
            with pytest.raises(Transient, match="the reply is larger than 4 MiB"):
                ask(f"http://{user}127.0.0.1:{port}/v1")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(seen) == 1
    assert peak < 32 << 20


@pytest.mark.parametrize("by", ["aiohttp", "the SDK"])
def test_a_packed_answer_is_read(by: str) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(completion(content=RIGHT).encode()) + packer.flush()
    user = "ann:x@" if by == "the SDK" else ""
    with server(body=packed, encoding="gzip") as (port, _):
        assert ask(f"http://{user}127.0.0.1:{port}/v1").output == {"answer": "x", "score": 1}


def test_certificates_are_checked_also_through_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with (
        server(lambda plain: tls.wrap_socket(plain, server_side=True)) as (port, _),
        server() as (proxy, carried),
    ):
        url = f"https://127.0.0.1:{port}/v1"
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            ask(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert ask(url).usage.calls == 1
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        assert ask(url).usage.calls == 1
        assert [path for path, _ in carried] == [f"127.0.0.1:{port}"]
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            ask(url)


def ask_as_batch(base_url: str) -> None:
    api = BatchAPI("sk-right", base_url, model="gpt-5-mini")
    api.create("file-1", "/v1/chat/completions", batch_id="b", part=0, token="t")


@pytest.mark.parametrize("asking", [ask, ask_as_batch])
@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{port}/v1/x", "http://localhost:{port}/v1/x", "//localhost:{port}/x"]
)
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_redirect_elsewhere_gets_neither_the_row_nor_the_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asking: Callable[[str], Any],
    to: str,
    is_encrypted: bool,
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "api-key: sk-right")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with server() as (port, seen):
        to = to.format(port=port)
        wrap = partial(tls.wrap_socket, server_side=True) if is_encrypted else lambda plain: plain
        with server(wrap, to=to) as (moved, asked):
            url = f"http{'s' * is_encrypted}://127.0.0.1:{moved}/v1"
            where = f"redirects to another server.*://{urlsplit(to).hostname}:{port}"
            with pytest.raises(Misconfigured, match=where):
                asking(url)
            with pytest.raises(Misconfigured, match=where):
                asking(url.replace("//", "//ann:x@"))
        assert asked
        assert not seen


@pytest.mark.parametrize(
    ("first", "then", "is_followed"),
    [
        ("http://a/v1", "http://a:80/v2", True),
        ("http://a/v1", "https://a/v1", True),
        ("https://a/v1", "https://A:443/v1", True),
        ("https://a/v1", "http://a/v1", False),
        ("https://a/v1", "https://a:444/v1", False),
        ("http://a:81/v1", "https://a/v1", False),
        ("http://a/v1", "https://b/v1", False),
        ("http://a/v1", "https://a.b/v1", False),
        ("https://a/v1", "http://169.254.169.254/latest", False),
        ("https://a/v1", "ftp://a/v1", False),
        ("https://a/v1", "file:///etc/passwd", False),
    ],
)
def test_a_redirect_is_followed_where_the_api_is(first: str, then: str, is_followed: bool) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        headers = {"Location": then} if len(seen) == 1 else {}
        return httpx2.Response(307 if headers else 200, headers=headers)

    client = httpx2.Client(
        transport=httpx2.MockTransport(answer),
        event_hooks={"request": [stay]},
        follow_redirects=True,
    )
    with nullcontext() if is_followed else pytest.raises(Misconfigured, match="another server"):
        client.post(first, content=b"row", headers={"api-key": "x"})
    assert len(seen) == 1 + is_followed


def test_nothing_is_left_open_or_complained_of_at_the_end(standin: Standin) -> None:
    script = (
        "import sys\n"
        f"from {__name__} import ask, OpenAIAnalyzer, Question, ECHO\n"
        "kept = OpenAIAnalyzer('sk-x', sys.argv[1])\n"
        "kept.answer(Question(ECHO, 'gpt-5-mini', 1, {'Name': 'A'}))\n"
        "ask(sys.argv[1])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, standin.base_url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "nclosed" not in ran.stderr
    assert "Exception" not in ran.stderr


UNREADABLE = {"kind": "verbatim", "status": 200, "text": "<p>Welcome to the hotel</p>"}


@pytest.mark.parametrize(
    ("fault", "billed"),
    [
        ({"kind": "hang"}, 1),
        ({"kind": "reset"}, 1),
        ({"kind": "closed"}, 1),
        (UNREADABLE, 1),
        ({"kind": "verbatim", "status": 504}, 1),
        ({"kind": "verbatim", "status": 502}, 1),
        ({"kind": "verbatim", "status": 408}, 1),
        ({"kind": "verbatim", "status": 500}, 0),  # the API itself gave up, and bills answers
        ({"kind": "verbatim", "status": 503}, 0),
        ({"kind": "verbatim", "status": 400}, 0),
        ({"kind": "verbatim", "status": 429, "text": error("busy", "resource_unavailable")}, 0),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("proxied", [False, True])
def test_a_call_that_was_sent_and_not_answered_may_be_billed(
    standin: Standin,
    fault: dict[str, Any],
    billed: int,
    proxied: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if proxied:  # then it goes over the SDK
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{standin.port}")
    standin.configure(faults=[fault])
    with pytest.raises(AnalysisError) as caught:
        ask(standin.base_url, time_limit=1 if fault["kind"] == "hang" else 20)
    assert caught.value.usage.possibly_billed == billed
    assert caught.value.usage.calls == 0


@pytest.mark.parametrize("proxied", [False, True])
def test_a_call_that_could_not_be_sent_is_not_billed(
    proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    if proxied:
        monkeypatch.setenv("HTTP_PROXY", nowhere)
    with pytest.raises(Transient, match="the connection failed") as caught:
        ask(f"{nowhere}/v1")
    assert caught.value.usage.possibly_billed == 0


def test_an_answer_that_was_paid_and_a_call_that_may_be_are_both_counted(
    standin: Standin,
) -> None:
    invalid = completion(content="no JSON")
    standin.configure(
        faults=[
            {"kind": "verbatim", "text": invalid, "attempts": 1},
            {"kind": "reset"},
        ]
    )
    with pytest.raises(Transient, match="the connection failed") as caught:
        ask(standin.base_url)
    assert (caught.value.usage.calls, caught.value.usage.possibly_billed) == (1, 1)
