"""What each provider's error bodies mean, to a worker and in a Batch API file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rowfleet.analysis import AnalysisError, Misconfigured, Permanent, Transient, Usage
from rowfleet.openai_api import batch_files, failures, replies
from rowfleet.openai_api.doubts import DOUBT_LASTS, DOUBTED_BATCHES, DOUBTFUL_ROWS, Doubts
from rowfleet.openai_api.error_classes import CLASSES, Fate
from tests.support.ledger import ECHO

RETRY, WAIT, FAIL, STOP = Fate.RETRY, Fate.WAIT, Fate.FAIL, Fate.STOP
KINDS = {RETRY: Transient, WAIT: Transient, FAIL: Permanent, STOP: Misconfigured}


def openai(message: str, kind: str, code: str | None = None, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def litellm(message: str, kind: str, code: int) -> Any:
    return {"error": {"message": message, "type": kind, "param": "None", "code": str(code)}}


def openrouter(message: str, code: int, **metadata: Any) -> Any:
    error = {"message": message, "code": code}
    return {"error": error | ({"metadata": metadata} if metadata else {}), "user_id": "user_1"}


REQUEST = "invalid_request_error"
FILTERED = {"hate": {"filtered": True, "severity": "high"}}
AZURE_FILTER = {
    "error": {
        "message": "The prompt was caught by the content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": FILTERED,
        },
    }
}
AZURE_INNER = {
    "error": {
        "message": "No.",
        "code": "400",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}

BODIES: dict[str, tuple[int, Any, Fate]] = {
    # OpenAI
    "openai quota": (429, openai("No quota.", "insufficient_quota", "insufficient_quota"), STOP),
    "openai quota, as type": (429, openai("No quota.", "insufficient_quota"), STOP),
    "openai inactive": (
        429,
        openai("Not active.", "billing_not_active", "billing_not_active"),
        STOP,
    ),
    "openai hard limit": (400, openai("Limit.", REQUEST, "billing_hard_limit_reached"), STOP),
    "openai key": (401, openai("Incorrect API key.", REQUEST, "invalid_api_key"), STOP),
    "openai scope": (401, openai("Missing scopes: model.request", REQUEST), STOP),
    "openai model": (404, openai("No such model.", REQUEST, "model_not_found"), STOP),
    "openai project": (403, openai("Not for this project.", REQUEST, "model_not_found"), STOP),
    "openai country": (
        403,
        openai("Not here.", "request_forbidden", "unsupported_country_region_territory"),
        STOP,
    ),
    "openai option": (
        400,
        openai("Unsupported parameter.", REQUEST, "unsupported_parameter", "max_tokens"),
        STOP,
    ),
    "openai schema": (400, openai("Invalid schema.", REQUEST, None, "response_format"), STOP),
    "openai schema, responses": (
        400,
        openai("Invalid schema.", REQUEST, "invalid_json_schema", "text.format.schema"),
        STOP,
    ),
    "openai long": (
        400,
        openai("Too many tokens.", REQUEST, "context_length_exceeded", "messages"),
        FAIL,
    ),
    "openai longer": (
        400,
        openai("Too long.", REQUEST, "string_above_max_length", "messages[1].content"),
        FAIL,
    ),
    "openai flagged": (400, openai("Flagged.", REQUEST, "invalid_prompt"), FAIL),
    "openai moderated": (400, openai("Blocked.", "image_error", "moderation_blocked"), FAIL),
    "openai other": (400, openai("Nonsense.", REQUEST), FAIL),
    "openai limit": (429, openai("Slow down.", "tokens", "rate_limit_exceeded"), WAIT),
    "openai large": (
        429,
        openai("Request too large for gpt-5-mini.", "tokens", "rate_limit_exceeded"),
        FAIL,
    ),
    "openai flex": (429, openai("Busy.", "rate_limit_error", "resource_unavailable"), RETRY),
    "openai 500": (500, openai("Sorry.", "server_error"), RETRY),
    "openai 503": (503, openai("Overloaded.", "service_unavailable_error"), RETRY),
    "too early": (425, None, RETRY),
    "proxy's timeout": (408, None, RETRY),
    # Azure OpenAI, and the gateway in front of it
    "azure filter": (400, AZURE_FILTER, FAIL),
    "azure inner": (400, AZURE_INNER, FAIL),
    "azure deployment": (
        404,
        {"error": {"code": "DeploymentNotFound", "message": "No deployment."}},
        STOP,
    ),
    "azure limit": (429, {"error": {"code": "429", "message": "Retry after 26 seconds."}}, WAIT),
    "azure key": (401, {"error": {"code": "401", "message": "Access denied."}}, STOP),
    "azure network": (403, {"error": {"code": "AccessDenied", "message": "Firewall."}}, STOP),
    "azure role": (401, {"error": {"code": "PermissionDenied", "message": "No role."}}, STOP),
    "azure gateway key": (401, {"statusCode": 401, "message": "No subscription."}, STOP),
    "azure gateway limit": (429, {"statusCode": 429, "message": "Try later."}, WAIT),
    # vLLM: flat until 0.10, nested since; 401 by its middleware
    "vllm model": (
        404,
        {"object": "error", "message": "No x.", "type": "NotFoundError", "code": 404},
        STOP,
    ),
    "vllm long": (
        400,
        {"object": "error", "message": "Longer than 4096.", "type": "BadRequestError", "code": 400},
        FAIL,
    ),
    "vllm nested": (
        400,
        {"error": {"message": "Longer.", "type": "BadRequestError", "param": None, "code": 400}},
        FAIL,
    ),
    "vllm key": (401, {"error": "Unauthorized"}, STOP),
    "vllm engine": (
        500,
        {"object": "error", "message": "Dead.", "type": "InternalServerError", "code": 500},
        RETRY,
    ),
    # LiteLLM: numbers as strings, "None" as a word
    "litellm key": (401, litellm("Received=sk-…, expected sk-…", "token_not_found", 401), STOP),
    "litellm budget": (400, litellm("Budget exceeded!", "budget_exceeded", 400), STOP),
    "litellm budget, newer": (429, litellm("Budget exceeded!", "budget_exceeded", 429), STOP),
    "litellm key's models": (403, litellm("Not yours.", "key_model_access_denied", 403), STOP),
    "litellm limit": (429, litellm("RateLimitError", "throttling_error", 429), WAIT),
    "litellm filter": (
        400,
        litellm("ContentPolicyViolationError", "content_policy_violation", 400),
        FAIL,
    ),
    "litellm guardrail": (400, litellm("Violated guardrail policy", "None", 400), FAIL),
    "litellm provider": (500, litellm("APIConnectionError", "None", 500), RETRY),
    # OpenRouter: numbers as codes, what else in metadata
    "openrouter credits": (402, openrouter("Insufficient credits", 402), STOP),
    "openrouter moderation": (
        403,
        openrouter("Flagged", 403, reasons=["violence"], flagged_input="…", provider_name="p"),
        FAIL,
    ),
    "openrouter policy": (404, openrouter("No endpoints match your policy", 404), STOP),
    "openrouter limit": (429, openrouter("Rate limited", 429), WAIT),
    "openrouter down": (502, openrouter("Provider returned error", 502, raw="…"), RETRY),
    "openrouter none": (503, openrouter("No provider", 503), RETRY),
    "cloudflare": (524, None, RETRY),
    # a gateway that says nothing: the row's or the key's?
    "firewall": (403, None, RETRY),
    "gateway": (403, {"message": "Request blocked by the web application firewall"}, RETRY),
    # no objects where objects belong
    "types": (400, {"error": {"message": 5, "code": ["x"], "type": {}, "param": [1]}}, FAIL),
    "depth": (400, {"error": {"innererror": {"innererror": {"innererror": "x"}}}}, FAIL),
    "lists": (503, {"error": [1]}, RETRY),
}


@pytest.mark.parametrize("name", BODIES)
def test_each_provider_s_errors_have_their_class(name: str) -> None:
    status, body, fate = BODIES[name]
    content = b"<h1>no JSON</h1>" if body is None else json.dumps(body).encode()
    failure, found = failures.from_reply(status, {"retry-after-ms": "1500"}, content, Usage(), "m")
    assert (found.fate, type(failure)) == (fate, KINDS[fate])
    assert str(status) in str(failure)
    if isinstance(failure, Transient):
        assert failure.retry_after == 1.5


@pytest.mark.parametrize("name", BODIES)
def test_a_line_of_a_batch_file_has_the_class_of_the_same_reply(name: str) -> None:
    status, body, fate = BODIES[name]
    line = {"custom_id": "row-7", "response": {"status_code": status, "body": body}, "error": None}
    result = batch_files.read_batch_line(json.dumps(line).encode())
    assert result is not None
    with pytest.raises(KINDS[fate]):
        result.answer(ECHO, "m")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("batch_expired", Transient),
        ("request_timeout", Transient),
        ("server_error", Transient),
        (None, Transient),
        ("insufficient_quota", Misconfigured),
        ("billing_hard_limit_reached", Misconfigured),
        ("content_filter", Permanent),
        ("401", Misconfigured),
    ],
)
def test_a_line_without_a_response_has_the_class_of_its_code(
    code: str | None, kind: type[AnalysisError]
) -> None:
    line = {"custom_id": "row-7", "response": None, "error": {"code": code, "message": "So."}}
    result = batch_files.read_batch_line(json.dumps(line).encode())
    assert result is not None
    with pytest.raises(kind, match="not answered by the Batch API"):
        result.answer(ECHO, "m")


CHAT, RESPONSES = "chat_completions", "responses"


@pytest.mark.parametrize(
    ("api", "body", "kind", "says"),
    [
        (CHAT, openrouter("Provider returned error", 502), Transient, "502"),
        (CHAT, openrouter("Flagged", 403, reasons=["hate"]), Permanent, "content filter"),
        (CHAT, openrouter("No credits", 402), Misconfigured, "can't pay"),
        (CHAT, {"error": "no model is loaded"}, Transient, "no model is loaded"),
        (CHAT, {"error": {"code": "insufficient_quota"}}, Misconfigured, "can't pay"),
        (
            CHAT,
            {"choices": [{"finish_reason": "error", "message": {}, "error": {"code": 504}}]},
            Transient,
            "504",
        ),
        (
            CHAT,
            {"choices": [{"finish_reason": "error", "message": {"content": "{"}}]},
            Transient,
            "broke off",
        ),
        (
            RESPONSES,
            {"status": "failed", "error": {"code": "server_error", "message": "Oh."}},
            Transient,
            "200 with an error in it: Oh.",
        ),
        (
            RESPONSES,
            {"status": "failed", "error": {"code": "rate_limit_exceeded"}},
            Transient,
            "rate_limit_exceeded",
        ),
        (
            RESPONSES,
            {"status": "failed", "error": {"code": "invalid_prompt", "message": "Flagged."}},
            Permanent,
            "content filter",
        ),
        (RESPONSES, {"status": "failed", "output": []}, Transient, "status failed"),
        (RESPONSES, {"status": "cancelled", "output": []}, Transient, "status cancelled"),
        (RESPONSES, {"status": "in_progress", "output": []}, Transient, "in_progress"),
        (RESPONSES, {"status": "incomplete", "output": []}, Transient, "does not say why"),
        (
            RESPONSES,
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            Permanent,
            "cut off",
        ),
        (
            RESPONSES,
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            Permanent,
            "withheld",
        ),
    ],
)
def test_an_error_in_a_200_is_none_of_the_model_s_answers(
    api: str, body: Any, kind: type[AnalysisError], says: str
) -> None:
    used = Usage(calls=1, prompt_tokens=9)
    with pytest.raises(kind, match=says) as caught:
        replies.text_of(body, api, used, "m")
    assert caught.value.usage == used  # it may have been paid for


def test_no_entry_is_hidden_by_one_above_it_and_the_last_fits_everything() -> None:
    seen = set()
    for status in range(300, 600):
        for words in [frozenset[str](), *({frozenset({w}) for c in CLASSES for w in c.words})]:
            for said in ("", "too large"):
                seen.add(next(c for c in CLASSES if c.fits(status, words, "", said)))
    assert seen == set(CLASSES)


def test_no_message_stops_a_batch() -> None:
    assert not [one for one in CLASSES if one.fate is STOP and one.says]


def doubtful() -> AnalysisError:
    error = Permanent("the API refused the request (400): no")
    error.is_doubtful = True
    return error


def test_rows_that_all_fail_stop_their_batch_and_no_other() -> None:
    doubts = Doubts()
    for _ in range(DOUBTFUL_ROWS - 1):
        assert isinstance(doubts.judged("b", doubtful()), Permanent)
    assert isinstance(doubts.judged("other", doubtful()), Permanent)
    stop = doubts.judged("b", doubtful())
    assert isinstance(stop, Misconfigured)
    assert "none was answered: the API refused the request (400): no" in str(stop)
    assert isinstance(doubts.judged("b", doubtful()), Misconfigured)


def test_doubts_are_kept_of_a_bounded_number_of_batches() -> None:
    doubts = Doubts()
    for _ in range(DOUBTFUL_ROWS - 1):
        doubts.judged("forgotten", doubtful())
    for number in range(DOUBTED_BATCHES):
        doubts.judged(f"b-{number}", doubtful())
    assert len(doubts._counts) == DOUBTED_BATCHES
    assert isinstance(doubts.judged("forgotten", doubtful()), Permanent)
    doubts.judged("b-1", doubtful())  # the youngest now, though it was the oldest
    doubts.judged("one more", doubtful())
    assert "b-1" in doubts._counts
    assert "b-2" not in doubts._counts


@pytest.mark.parametrize("answer", ["valid", "not valid", "sure", "later"])
def test_rows_that_fail_among_answers_stop_nothing(answer: str) -> None:
    now = [0.0]
    doubts = Doubts(lambda: now[0])
    for _ in range(3):
        for _ in range(DOUBTFUL_ROWS - 1):
            assert isinstance(doubts.judged("b", doubtful()), Permanent)
        match answer:
            case "valid":
                doubts.answered("b")
            case "not valid":
                doubts.judged("b", Permanent("not valid, twice", Usage(calls=2)))
            case "sure":
                doubts = Doubts(lambda: now[0])
                for _ in range(2 * DOUBTFUL_ROWS):
                    assert isinstance(doubts.judged("b", Permanent("filtered")), Permanent)
            case "later":
                now[0] += DOUBT_LASTS + 1


@pytest.mark.parametrize(
    ("code", "fate"),
    [("token_limit_exceeded", WAIT), ("server_error", RETRY), ("invalid_json_line", STOP)],
)
def test_a_remote_batch_s_error_has_its_fate(code: str, fate: Fate) -> None:
    assert failures.from_batch_error(code) is fate
