"""The way to the API: keys, base URLs, proxies, certificates, redirects and bounds."""

from __future__ import annotations

import ssl
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from rowfleet.analysis import Misconfigured, Transient
from submitter.batch_api.client import BatchAPI
from tests.standin import Standin
from tests.support.http_server import server
from tests.support.replies import RIGHT, ask, completion


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


def test_nothing_is_left_open_or_complained_of_at_the_end(standin: Standin) -> None:
    script = (
        "import sys\n"
        "from rowfleet.analysis import Question\n"
        "from tests.support.ledger import ECHO\n"
        "from tests.support.replies import ask\n"
        "from worker.analyzers.openai.analyzer import OpenAIAnalyzer\n"
        "kept = OpenAIAnalyzer('sk-x', sys.argv[1])\n"
        "kept.answer(Question(ECHO, 'gpt-5-mini', 3, {'Name': 'A'}))\n"
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
