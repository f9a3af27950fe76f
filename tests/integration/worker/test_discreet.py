"""No key, cell or answer in a worker's log, in its task events, or in what the commands print.

Real workers ask an API that quotes whatever it was told: the key and the row.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from celery.events import EventReceiver
from pydantic import SecretStr
from sqlalchemy import Engine, text

from rowfleet.ledger.queries import rows
from rowfleet.queue.app import celery_app
from rowfleet.settings import Settings
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start, environment, feed

#: In every cell and every answer, and nowhere else.
MARKER = "DE02-1203-Marker"

#: No shape tells that it is one.
KEY = "b7f1c0de5a3e4d90a1b2c3d4e5f60718"

#: A row's cell, which asks the API for a reply, and the status that its row comes to.
ENDS = {
    "done": "done",
    "invalid": "failed",
    "not-json": "failed",
    "not-an-answer": "failed",
    "refused": "failed",
    "cut-off": "failed",
    "bad-request": "failed",
    "overloaded": "failed",
    "closed": "failed",
    "database": None,  # what becomes of it is another test's
}


class _Quoting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        found = re.search(r"what:([a-z-]+) (\S+-Marker)", sent)
        assert found, sent
        what, quoted = found[1], f"{found[2]} {self.headers['Authorization']} \x1b[2J"
        answer = json.dumps({"answer": found[2], "score": 1})
        match what:
            case "denied":
                self._say(401, json.dumps({"error": {"message": f"no key {quoted}"}}))
            case "bad-request":
                self._say(400, json.dumps({"error": {"message": quoted, "code": quoted}}))
            case "overloaded":
                self._say(503, json.dumps({"error": {"message": quoted}}))
            case "not-an-answer":
                self._say(200, json.dumps({"choices": quoted, "usage": {"prompt_tokens": quoted}}))
            case "closed":
                self.wfile.write(f"{quoted}\r\n\r\n".encode())
            case "invalid":
                self._answer(json.dumps({"answer": 5, quoted: quoted}))
            case "not-json":
                self._answer(quoted)
            case "refused":
                self._answer(None, refusal=quoted)
            case "cut-off":
                self._answer(quoted, finish_reason="length")
            case "database":
                self._answer(json.dumps({"answer": f"database {found[2]}", "score": 1}))
            case _:
                self._answer(answer)

    def _answer(self, content: str | None, finish_reason: str = "stop", **message: Any) -> None:
        choice = {"message": {"content": content, **message}, "finish_reason": finish_reason}
        self._say(200, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9}}))

    def _say(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def quoting() -> Iterator[str]:
    """Base URL of an API that quotes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Quoting)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def discreet_fleet(fleet: Settings, quoting: str) -> Settings:
    """A fleet that asks that API with that key, and gives up soon."""
    return fleet.model_copy(
        update={
            "openai_base_url": quoting,
            "openai_api_key": SecretStr(KEY),
            "max_retries": 1,
            "retry_delay": 0.0,
        }
    )


@pytest.fixture
def events(discreet_fleet: Settings) -> Iterator[list[dict[str, Any]]]:
    """All events that the workers send meanwhile, as Flower gets them."""
    got: list[dict[str, Any]] = []
    over = threading.Event()
    app = celery_app(discreet_fleet)
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": got.append}, app=app)

        def receive() -> None:
            with receiver.consumer_context() as (its_own, _, _):
                while not over.is_set():
                    try:
                        its_own.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield got
        over.set()
        thread.join()


def _run(settings: Settings, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "submitter", *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def _everything_kept(engine: Engine) -> str:
    with engine.connect() as connection:
        return "\n".join(
            str(tuple(row))
            for table in ("rows", "batches", "remote_batches", "tallies")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        )


def test_neither_cells_nor_answers_nor_keys_are_in_log_or_events(
    discreet_fleet: Settings,
    ledger: Engine,
    start: Start,
    events: list[dict[str, Any]],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    with ledger.begin() as connection:  # a database that refuses an answer, and quotes it
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION 'refused: %', NEW.output USING DETAIL = NEW.output; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON rows FOR EACH ROW "
                "WHEN (NEW.output::text LIKE '%database%') EXECUTE FUNCTION refuse()"
            )
        )
    names = [f"what:{what} {MARKER}" for what in ENDS]
    make_batch(ledger, len(ENDS) - 1, queue=discreet_fleet.queue, names=names)
    feed(ledger, discreet_fleet)
    start(discreet_fleet, "--loglevel", "DEBUG")
    eventually(lambda: set(statuses(ledger)) <= {"done", "failed"}, 60)
    assert statuses(ledger) == [end for end in ENDS.values() if end]

    for what in ("denied", "database"):
        names = [f"what:{what} {MARKER}"]
        make_batch(ledger, 1, batch_id=what, queue=discreet_fleet.queue, names=names)
    feed(ledger, discreet_fleet)
    ended = {"task-failed", "task-succeeded", "task-retried"}
    eventually(
        lambda: (
            {"denied.0", "database.0"}
            <= {event["uuid"] for event in events if event["type"] in ended}
        ),
        60,
    )

    log = (tmp_path / "worker.log").read_text()
    seen = json.dumps(events, default=str)
    for where, said in (("log", log), ("events", seen)):
        assert MARKER not in said, where
        assert KEY not in said, where
        assert "\x1b" not in said, where
    assert "the answer was not valid, twice" in log  # of what kind a failure was, it says
    assert "the API refused the request (400)" in seen
    assert "OPENAI_API_KEY was rejected by the API (401)" in log

    # The ledger is the user's own, and says what there was; but never the key.
    kept = _everything_kept(ledger)
    assert KEY not in kept
    with ledger.connect() as connection:
        reasons = [row.error for row in rows.failed_rows(connection, "b")]
    assert f"the model refused: {MARKER} Bearer *** \N{REPLACEMENT CHARACTER}[2J" in reasons
    for arguments in (("failed", "b"), ("progress", "denied"), ("failed", "b", "--json")):
        shown = _run(discreet_fleet, *arguments)
        assert KEY not in shown
        assert "\x1b" not in shown
    assert "was rejected by the API (401)" in _run(discreet_fleet, "progress", "denied")
