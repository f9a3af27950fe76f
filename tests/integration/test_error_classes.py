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

from rowfleet.api_failures import DOUBTFUL_ROWS, Doubts
from rowfleet.ledger import queries
from rowfleet.ledger.models import Row
from tests.ledger_helpers import make_batch, statuses
from tests.standin import Standin
from worker.analyzers.openai import OpenAIAnalyzer
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row


class Fleet:
    """A worker's parts, without Celery: run a row by its number."""

    def __init__(self, engine: Engine, base_url: str) -> None:
        self._books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
        self.analyzer = OpenAIAnalyzer("sk-test", base_url)
        self._limits = Limits(3, 0, 30)
        self._doubts = Doubts()

    def run(self, number: int) -> None:
        with suppress(RowFailed, Retry):
            run_row(
                "b",
                number,
                books=self._books,
                analyzer=lambda _name: self.analyzer,
                limits=self._limits,
                doubts=self._doubts,
            )


def batch(engine: Engine) -> Any:
    with engine.connect() as connection:
        return queries.get_batch(connection, "b")


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
    engine: Engine, standin: Standin, fault: dict[str, Any]
) -> None:
    standin.configure(faults=[fault])
    make_batch(engine, 200)
    fleet = Fleet(engine, standin.base_url)
    with ThreadPoolExecutor(10) as slots:
        list(slots.map(fleet.run, range(200)))
    assert batch(engine).status == "stopped"
    assert statuses(engine).count("failed") < DOUBTFUL_ROWS
    assert standin.summary()["calls"] < DOUBTFUL_ROWS + 20  # and those in flight


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
