"""The API's failures and a batch: one row's stop nothing, those of all rows stop it early."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from celery.exceptions import Retry
from sqlalchemy import Engine, select

from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import batch_records, progress
from rowfleet.ledger.transitions import finishing
from rowfleet.openai_api.doubts import DOUBTFUL_ROWS, Doubts
from rowfleet.retry import RetryPolicy
from submitter.progress import display
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses
from tests.support.no_texts import no_texts
from worker.analyzers.openai.analyzer import OpenAIAnalyzer
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row


class Fleet:
    """A worker's parts, without Celery: run a row by its number."""

    def __init__(self, engine: Engine, base_url: str) -> None:
        self._books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
        self.analyzer = OpenAIAnalyzer("sk-test", base_url)
        self._limits = Limits(RetryPolicy(3, 0), 30)
        self._doubts = Doubts()

    def run(self, number: int) -> str | None:
        with suppress(RowFailed, Retry):
            return run_row(
                "b",
                number,
                books=self._books,
                analyzer=lambda _name: self.analyzer,
                limits=self._limits,
                doubts=self._doubts,
                texts=no_texts,
            )
        return None


def batch(engine: Engine) -> Any:
    with engine.connect() as connection:
        return batch_records.get_batch(connection, "b")


FIREWALL = {"kind": "verbatim", "status": 403, "text": "<h1>blocked</h1>"}
SCHEMA = {"kind": "verbatim", "status": 400, "text": '{"error": {"message": "no such format"}}'}


def test_a_row_that_a_gateway_forbids_fails_alone(engine: Engine, standin: Standin) -> None:
    standin.configure(faults=[{**FIREWALL, "rows": [3]}])
    make_batch(engine, 30)
    fleet = Fleet(engine, standin.base_url)
    for number in [*range(30), *[3] * 5]:
        fleet.run(number)
    assert Counter(statuses(engine)) == {"done": 29, "failed": 1}
    assert batch(engine).status == "running"
    assert standin.summary()["rows"][3] == 4  # once, and three retries


@pytest.mark.parametrize("fault", [FIREWALL, SCHEMA], ids=["403", "400"])
def test_what_no_row_can_pass_stops_the_batch_early(
    engine: Engine, standin: Standin, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    standin.configure(faults=[fault])
    make_batch(engine, 200)
    fleet = Fleet(engine, standin.base_url)
    with ThreadPoolExecutor(10) as slots:
        said = list(slots.map(fleet.run, range(200)))
    assert batch(engine).status == "stopped"
    # Of the first few the refusal is a doubt, then the batch stands.
    ends = {word.partition(": ")[2] for word in said if word}
    assert "batch stopped" in ends
    assert ends <= {"batch stopped", "given back", "its batch is stopped"}
    assert any(message.startswith("batch b stopped: ") for message in caplog.messages)
    assert statuses(engine).count("failed") < DOUBTFUL_ROWS
    assert standin.summary()["calls"] < DOUBTFUL_ROWS + 20  # and those in flight


@pytest.mark.parametrize(
    "usage",
    [None, {"completion_tokens": 5}, {"prompt_tokens": "9", "completion_tokens": "5"},
     {"prompt_tokens": -9, "completion_tokens": 5}, {"prompt_tokens": 10**15}],
    ids=["missing", "half", "text", "negative", "absurd"],
)  # fmt: skip
def test_answers_that_do_not_say_what_they_used_end_a_batch_with_a_budget(
    engine: Engine, standin: Standin, usage: object
) -> None:
    choice = {"message": {"content": '{"answer": "a", "score": 1}'}, "finish_reason": "stop"}
    text = json.dumps({"choices": [choice], "usage": usage})
    standin.configure(faults=[{"kind": "verbatim", "rows": [1], "text": text}])
    make_batch(engine, 3, max_cost=5)
    fleet = Fleet(engine, standin.base_url)
    fleet.run(0)
    with engine.begin() as connection:
        assert progress.progress_of(connection, "b").cost_usd
    fleet.run(1)
    with engine.begin() as connection:
        assert finishing.exhaust(connection, "b", by="k")
        ended = progress.progress_of(connection, "b")
        costs = list(connection.scalars(select(Row.cost_usd).order_by(Row.number)))
    assert (ended.status, ended.cost_usd) == ("budget_exhausted", None)
    assert str(ended.reason).startswith("the cost of 1 answered calls is not known")
    assert "cost unknown" in display.line(ended)
    assert costs[0] > 0
    assert costs[1:] == [None, None]
    fleet.run(2)  # which no budget pays for
    assert standin.summary()["calls"] == 2


def test_a_rows_cost_is_unknown_if_one_of_its_calls_has_none(
    engine: Engine, standin: Standin
) -> None:
    """Tried three times: with a known cost, without, and with one again."""
    choice = {"message": {"content": "{}"}, "finish_reason": "stop"}
    make_batch(engine, 1)
    fleet = Fleet(engine, standin.base_url)
    for usage in ({"prompt_tokens": 9, "completion_tokens": 5}, None, None):
        failed = {"error": {"message": "m", "code": 502}, "choices": [choice], "usage": usage}
        if usage is None:
            failed = {"choices": [5]}
        fault = {"kind": "verbatim", "text": json.dumps(failed)}
        standin.configure(faults=[fault])
        fleet.run(0)
    standin.configure(faults=[])
    fleet.run(0)
    with engine.connect() as connection:
        row = connection.execute(select(Row.status, Row.calls, Row.cost_usd)).one()
    assert tuple(row) == ("done", 4, None)


@contextmanager
def spoiling() -> Iterator[tuple[str, list[int]]]:
    """An API whose every second reply is paid and not valid, and the others 429 for long."""
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = 429 if seen and seen[-1] == 200 else 200
            seen.append(status)
            choice = {"message": {"content": "{}"}, "finish_reason": "stop"}
            used = {"prompt_tokens": 10, "completion_tokens": 10}
            body = json.dumps({"choices": [choice], "usage": used} if status == 200 else {})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def test_invalid_answers_with_refusals_between_them_are_not_paid_for_without_end(
    engine: Engine,
) -> None:
    make_batch(engine, 1)
    with spoiling() as (base_url, seen):
        fleet = Fleet(engine, base_url)
        for _ in range(12):
            fleet.run(0)
            fleet.analyzer = OpenAIAnalyzer("sk-test", base_url)  # which need not wait its turn
    assert statuses(engine) == ["failed"]
    assert seen.count(200) == 4  # once, and three retries
    with engine.connect() as connection:
        calls, tokens = connection.execute(select(Row.calls, Row.prompt_tokens)).one()
    assert (calls, tokens) == (4, 40)
