"""The counts of each reply, and the calls that may be billed without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rowfleet.analysis import AnalysisError, Transient
from tests.standin import Standin
from tests.support.brokers import free_port
from tests.support.replies import RIGHT, USED, ask, completion, error, response


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
