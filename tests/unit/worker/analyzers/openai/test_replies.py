"""What becomes of each reply the API or the network can give, right or broken."""

from __future__ import annotations

import json

import pytest

from rowfleet.analysis import AnalysisError, Misconfigured, Permanent, Postponed, Transient
from tests.standin import Standin
from tests.support.replies import HTML, RIGHT, ask, completion, error, response


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
