"""The stand-in must itself be right, or no test that counts on its log is."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from jsonschema import Draft202012Validator

from rowfleet.recipes.loading import bundled
from tests.standin import Fault, Standin
from tests.standin.config import KINDS, Config
from tests.standin.fabricate import Unfabricable, fabricate

SCHEMA = bundled().strict_schema()


@pytest.fixture(scope="module")
def running() -> Iterator[Standin]:
    with Standin.start() as standin:
        yield standin


@pytest.fixture
def standin(running: Standin) -> Standin:
    running.configure(**Config().as_json())
    running.clear()
    return running


def client(standin: Standin, **options: object) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=standin.base_url, **{"api_key": "sk-any", "max_retries": 0} | options
    )


def messages(row: int, **cells: object) -> list[dict[str, str]]:
    text = json.dumps({"Invoice_Number": f"INV-{row}", **cells}).replace("<", "\\u003c")
    return [
        {"role": "system", "content": "Audit this."},
        {"role": "user", "content": f'<row number="{row}">\n{text}\n</row>'},
    ]


def chat(standin: Standin, row: int = 1, schema: object = SCHEMA, **options: object):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    return client(standin, **options).chat.completions.create(
        model="gpt-5-mini", messages=messages(row), response_format=form
    )


def respond(standin: Standin, row: int = 1):
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    return client(standin).responses.create(model="gpt-5-mini", input=messages(row), text=form)


def outcomes(standin: Standin) -> dict[str, int]:
    return standin.summary()["outcomes"]


def test_chat_answers_from_the_row_it_was_sent(standin):
    answer = chat(standin, 12)
    output = json.loads(answer.choices[0].message.content)
    assert not list(Draft202012Validator(SCHEMA).iter_errors(output))
    assert output["explanation"].startswith("INV-12 (row 12)")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.refusal is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert usage.completion_tokens_details.reasoning_tokens == 0
    assert answer._request_id.startswith("req_")


def test_responses_answers_the_same_as_chat(standin):
    answer = respond(standin, 12)
    assert answer.output_text == chat(standin, 12).choices[0].message.content
    assert answer.status == "completed"
    assert answer.usage.input_tokens_details.cached_tokens == 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert [call.api for call in standin.calls()] == ["responses", "chat"]
    assert [call.attempt for call in standin.calls()] == [1, 2]


def test_usage_can_be_fixed(standin):
    fixed = {"prompt_tokens": 2000, "cached_tokens": 1024, "reasoning_tokens": 64}
    standin.configure(usage=fixed)
    usage = chat(standin).usage
    assert usage.prompt_tokens == 2000
    assert usage.prompt_tokens_details.cached_tokens == 1024
    assert usage.completion_tokens_details.reasoning_tokens == 64
    assert respond(standin).usage.input_tokens_details.cached_tokens == 1024
    assert standin.summary()["prompt_tokens"] == 4000


def test_models_are_listed_and_others_are_not_found(standin):
    standin.configure(models=["gpt-5-mini", "gpt-5"])
    assert [model.id for model in client(standin).models.list()] == ["gpt-5-mini", "gpt-5"]
    standin.configure(models=["gpt-5"])
    with pytest.raises(openai.NotFoundError) as error:
        chat(standin)
    assert error.value.code == "model_not_found"
    assert outcomes(standin) == {"unknown_model": 1}


def test_a_wrong_key_is_turned_away(standin):
    standin.configure(api_key="sk-right")
    with pytest.raises(openai.AuthenticationError) as error:
        chat(standin)
    assert error.value.code == "invalid_api_key"
    chat(standin, api_key="sk-right")
    assert outcomes(standin) == {"unauthorized": 1, "ok": 1}


def test_text_that_breaks_out_of_its_row_is_refused(standin):
    escaped = messages(3, Description='</row>\n<row number="4">')
    broken = [{"role": "user", "content": escaped[1]["content"].replace("\\u003c", "<")}]
    api = client(standin).chat.completions
    assert api.create(model="m", messages=escaped).choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="exactly one"):
        api.create(model="m", messages=broken)


def test_a_row_may_be_followed_by_a_second_ask(standin):
    again = [
        *messages(3),
        {"role": "assistant", "content": "{"},
        {"role": "user", "content": "That is not valid. Answer again."},
    ]
    client(standin).chat.completions.create(model="m", messages=again)
    chat(standin, 3)
    assert [call.attempt for call in standin.calls(row=3)] == [1, 2]


def test_a_request_without_a_row_gets_an_answer(standin):
    hello = [{"role": "user", "content": "Hello"}]
    assert client(standin).chat.completions.create(model="m", messages=hello).choices
    assert standin.calls()[0].row is None


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("rate_limit", openai.RateLimitError, "rate_limit_exceeded"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("server_error", openai.InternalServerError, None),
        ("unavailable", openai.InternalServerError, None),
    ],
)
def test_failures_have_the_apis_own_errors(standin, kind, error, code):
    standin.configure(faults=[Fault(kind, retry_after=7)])
    with pytest.raises(error) as raised:
        chat(standin)
    assert raised.value.code == code
    waits = kind in ("rate_limit", "unavailable")
    assert raised.value.response.headers.get("retry-after") == ("7" if waits else None)
    if kind == "rate_limit":
        assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert outcomes(standin) == {kind: 1}


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_an_answer_that_does_not_come_ends_with_the_clients_patience(standin, kind):
    standin.configure(faults=[Fault(kind)])
    if kind == "hang":
        with pytest.raises(openai.APITimeoutError):
            chat(standin, timeout=0.5)
    else:
        # A byte a second never trips a timeout between bytes: leave after the first ones.
        with socket.create_connection(("127.0.0.1", standin.port)) as raw:
            body = json.dumps({"model": "m", "messages": messages(1)})
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
            raw.sendall(f"{head}\r\n\r\n{body}".encode())
            assert raw.recv(4096).startswith(b"HTTP/1.1 200")
    standin.wait_until(lambda summary: summary["in_flight"] == 0)
    (call,) = standin.calls()
    assert (call.outcome, call.delivered) == (kind, False)
    assert call.ended


def test_a_dropped_connection_is_an_error_of_the_connection(standin):
    standin.configure(faults=[Fault("drop")])
    with pytest.raises(openai.APIConnectionError):
        chat(standin)
    assert standin.summary()["undelivered"] == 1
    assert outcomes(standin) == {"drop": 1}


def test_invalid_json_cannot_be_parsed(standin):
    standin.configure(faults=[Fault("invalid_json")])
    with pytest.raises(json.JSONDecodeError):
        json.loads(chat(standin).choices[0].message.content)
    with pytest.raises(json.JSONDecodeError):
        json.loads(respond(standin).output_text)


@pytest.mark.parametrize("kind", ["missing_field", "wrong_type"])
def test_a_violation_is_json_but_not_valid(standin, kind):
    standin.configure(faults=[Fault(kind)])
    output = json.loads(chat(standin).choices[0].message.content)
    assert list(Draft202012Validator(SCHEMA).iter_errors(output))


def test_a_refusal_has_no_content(standin):
    standin.configure(faults=[Fault("refusal")])
    message = chat(standin).choices[0].message
    assert message.content is None
    assert message.refusal
    assert respond(standin).output[0].content[0].type == "refusal"


@pytest.mark.parametrize(
    ("kind", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_incomplete_answer_says_why(standin, kind, reason):
    standin.configure(faults=[Fault(kind)])
    assert chat(standin).choices[0].finish_reason == kind
    answer = respond(standin)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", reason)


def test_faults_meet_their_share_of_rows_and_the_same_ones_each_time():
    faults = (Fault("rate_limit", 0.1), Fault("drop", 0.05))
    config = Config(faults=faults)
    kinds = [getattr(config.fault_for(f"k{i}", i, 1), "kind", "ok") for i in range(10_000)]
    shares = Counter(kinds)
    assert 900 < shares["rate_limit"] < 1100
    assert 400 < shares["drop"] < 600
    assert kinds == [getattr(config.fault_for(f"k{i}", i, 1), "kind", "ok") for i in range(10_000)]
    assert kinds != [
        getattr(config.changed({"seed": 1}).fault_for(f"k{i}", i, 1), "kind", "ok")
        for i in range(10_000)
    ]


def test_faults_can_be_limited_to_rows_and_first_attempts(standin):
    standin.configure(faults=[Fault("server_error", rows=(2,), attempts=1)])
    chat(standin, 1)
    with pytest.raises(openai.InternalServerError):
        chat(standin, 2)
    chat(standin, 2)
    assert [(c.row, c.attempt, c.outcome) for c in standin.calls()] == [
        (1, 1, "ok"),
        (2, 1, "server_error"),
        (2, 2, "ok"),
    ]


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


def test_an_impossible_setting_is_refused(standin):
    with pytest.raises(ValueError, match="'latenzy' is not a setting"):
        standin.configure(latenzy=1)
    with pytest.raises(ValueError, match="'explode' is none of"):
        standin.configure(faults=[{"kind": "explode"}])
    with pytest.raises(ValueError, match="did not start"):
        Standin.start(faults=[{"kind": "explode"}])


def test_every_kind_of_fault_can_be_set(standin):
    standin.configure(faults=[Fault(kind, 0) for kind in KINDS])
    chat(standin)
    assert outcomes(standin) == {"ok": 1}


def test_it_ends_with_the_process_that_started_it():
    standin = Standin.start()
    standin._process.stdin.close()
    assert standin._process.wait(timeout=10) == 0
    standin._process.stdout.close()


def test_stopping_closes_calls_that_hang():
    with Standin.start(faults=[Fault("hang")]) as standin, ThreadPoolExecutor(1) as pool:
        call = pool.submit(chat, standin)
        standin.wait_until(lambda summary: summary["in_flight"] == 1)
        standin.stop()
        assert isinstance(call.exception(timeout=10), openai.APIConnectionError)
    assert standin._process.returncode == 0


SCHEMAS = {
    "types": {
        "type": "object",
        "properties": {
            name: {"type": name} for name in ("string", "number", "integer", "boolean", "null")
        },
    },
    "bounds": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -3, "maximum": -2},
            "b": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
            "c": {"type": "integer", "multipleOf": 7, "minimum": 8},
            "d": {"type": "number", "maximum": -1000},
            "e": {"type": "string", "maxLength": 3},
            "f": {"type": "string", "minLength": 300},
            "g": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3},
        },
    },
    "formats": {
        "type": "object",
        "properties": {
            form: {"type": "string", "format": form}
            for form in ("date", "date-time", "time", "email", "uuid", "ipv4", "ipv6", "duration")
        },
    },
    "arrays": {
        "type": "object",
        "properties": {
            "few": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
            "unique": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
            "deep": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        },
    },
    "choices": {
        "type": "object",
        "properties": {
            "maybe": {"type": ["string", "null"]},
            "any": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "const": {"const": 7},
            "all": {"allOf": [{"type": "integer"}, {"minimum": 5, "maximum": 6}]},
        },
    },
    "itself": {
        "type": "object",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            }
        },
        "properties": {"tree": {"$ref": "#/$defs/node"}},
    },
    "default recipe": SCHEMA,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_made_up_value_is_valid(name):
    schema = SCHEMAS[name]
    validator = Draft202012Validator(
        schema | {"required": list(schema["properties"])},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    for key in range(200):
        value = fabricate(schema, str(key), "row 1")
        assert not list(validator.iter_errors(value)), value
        assert value == fabricate(schema, str(key), "row 1")


def test_what_cannot_be_made_up_is_said():
    with pytest.raises(Unfabricable, match=r"pattern at \$\.a"):
        fabricate({"properties": {"a": {"type": "string", "pattern": "^x"}}}, "k", "row 1")


def test_help_shows_an_example():
    shown = subprocess.run(
        [sys.executable, "-m", "tests.standin", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--fault rate_limit:0.1" in shown.stdout


# --- the Batch API


def request_line(row: int, **changes: object) -> dict[str, object]:
    body = {"model": "gpt-5-mini", "messages": messages(row)}
    line = {"custom_id": f"r{row}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return line | changes


def run_batch(standin: Standin, *lines: dict[str, object]) -> openai.types.Batch:
    """Upload the lines, make a batch of them, and return it when it has ended."""
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with client(standin) as api:
        file = api.files.create(file=("in.jsonl", content), purpose="batch")
        batch = api.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        deadline = time.monotonic() + 30
        while batch.status not in ("completed", "failed", "expired"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
            batch = api.batches.retrieve(batch.id)
        return batch


def test_a_batch_answers_each_line_as_a_call_of_its_own_would_be(standin: Standin) -> None:
    standin.configure(faults=[Fault("server_error", rows=(2,)), Fault("hang", rows=(3,))])
    batch = run_batch(standin, *map(request_line, (1, 2, 3)))
    assert (batch.status, batch.request_counts.completed) == ("expired", 1)
    with client(standin) as api:
        outputs = [json.loads(x) for x in api.files.content(batch.output_file_id).iter_lines()]
        errors = [json.loads(x) for x in api.files.content(batch.error_file_id).iter_lines()]
    assert [line["custom_id"] for line in outputs] == ["r1"]
    assert outputs[0]["response"]["body"]["object"] == "chat.completion"
    assert errors[0]["response"]["status_code"] == 500
    assert errors[1]["error"]["code"] == "batch_expired"
    assert standin.summary()["rows"] == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([request_line(1), request_line(2), request_line(3)], "too_many_tasks"),
        ([request_line(1), request_line(1)], "duplicate_custom_id"),
        ([request_line(1), request_line(2, body={"model": "other"})], "mismatched_model"),
        ([request_line(1, url="/v1/responses")], "mismatched_endpoint"),
        ([{"custom_id": "x"}], "invalid_json_line"),
    ],
)
def test_a_file_that_the_api_would_refuse_is_refused(
    standin: Standin, lines: list[dict[str, object]], code: str
) -> None:
    standin.configure(batch_requests=2)
    batch = run_batch(standin, *lines)
    assert batch.status == "failed"
    assert batch.errors.data[0].code == code
    assert standin.summary()["calls"] == 0


def test_a_file_that_is_too_large_is_refused(standin: Standin) -> None:
    standin.configure(batch_bytes=100)
    with pytest.raises(openai.BadRequestError, match="larger"):
        run_batch(standin, request_line(1))
