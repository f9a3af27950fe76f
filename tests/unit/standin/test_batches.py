"""The stand-in's Batch API answers and refuses as OpenAI's does."""

from __future__ import annotations

import json
import time

import openai
import pytest

from tests.standin import Fault, Standin
from tests.support.standin_calls import client, messages


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
