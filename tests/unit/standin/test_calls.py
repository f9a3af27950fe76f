"""The stand-in's log is exact, and it enforces the limits that a test sets."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.standin import Fault
from tests.support.standin_calls import SCHEMA, chat, client, messages, outcomes


def test_the_log_is_exact_under_concurrency(standin):
    standin.configure(latency=[0.0, 0.02], faults=[Fault("server_error", 0.2)])
    api = client(standin, max_retries=0)

    def ask(row: int) -> bool:
        try:
            api.chat.completions.create(model="m", messages=messages(row))
        except openai.InternalServerError:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        answered = list(pool.map(ask, [*range(300), *range(100)]))
    summary = standin.summary()
    assert summary["calls"] == 400
    assert summary["outcomes"] == {
        "ok": sum(answered),
        "server_error": len(answered) - sum(answered),
    }
    assert summary["rows"] == {row: 2 if row < 100 else 1 for row in range(300)}
    assert sorted(summary["keys"].values()) == sorted(summary["rows"].values())
    assert summary["in_flight"] == 0
    assert 1 < summary["peak_in_flight"] <= 20
    assert max(call.in_flight for call in standin.calls()) == summary["peak_in_flight"]


def test_calls_in_flight_are_counted(standin):
    standin.configure(faults=[Fault("hang")])
    api = client(standin, timeout=2)

    def hang(row: int) -> None:
        with pytest.raises(openai.APITimeoutError):
            api.chat.completions.create(model="m", messages=messages(row))

    threads = [threading.Thread(target=hang, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    standin.wait_until(lambda summary: summary["in_flight"] == 3)
    for thread in threads:
        thread.join()
    standin.wait_until(lambda summary: summary["in_flight"] == 0)
    assert standin.summary()["undelivered"] == 3


def test_half_a_request_is_no_call(standin):
    with socket.create_connection(("127.0.0.1", standin.port)) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    chat(standin)
    assert standin.summary()["calls"] == 1


def test_bodies_are_kept_when_asked(standin):
    chat(standin)
    standin.configure(keep_bodies=True)
    chat(standin)
    first, second = standin.calls()
    assert first.body is None
    assert second.body["messages"] == messages(1)
    assert second.body["response_format"]["json_schema"]["schema"] == SCHEMA


def test_the_request_limit_is_enforced_and_told(standin):
    standin.configure(requests_per_minute=60, burst_seconds=3)
    api = client(standin).chat.completions.with_raw_response
    raw = api.create(model="m", messages=messages(0))
    assert raw.headers["x-ratelimit-limit-requests"] == "60"

    def ask_until_refused() -> None:
        for row in range(1, 50):
            chat(standin, row)

    with pytest.raises(openai.RateLimitError) as error:
        ask_until_refused()
    assert error.value.code == "rate_limit_exceeded"
    assert 0 < float(error.value.response.headers["retry-after"]) <= 1
    seen = outcomes(standin)
    assert seen["over_limit"] == 1
    assert seen["ok"] >= 3


def test_the_token_limit_is_enforced(standin):
    standin.configure(tokens_per_minute=600, burst_seconds=1, usage={"completion_tokens": 10})
    api = client(standin).chat.completions
    api.create(model="m", messages=messages(0), max_completion_tokens=500)
    with pytest.raises(openai.RateLimitError) as error:
        api.create(model="m", messages=messages(1), max_completion_tokens=500)
    assert error.value.response.headers["x-ratelimit-limit-tokens"] == "600"
