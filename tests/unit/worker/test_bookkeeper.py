"""What a slot gets from the bookkeeper where it is interrupted, gives up or stops a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine, select

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.records import Outcome
from tests.support.ledger import make_batch
from worker.assignment import Assignment, Refused
from worker.bookkeeper import Bookkeeper
from worker.slot_requests import Request

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def books(engine: Engine) -> Bookkeeper:
    """The bookkeeper of a worker, and a batch of three rows."""
    make_batch(engine, 3)
    return Bookkeeper(engine, worker="w", lease=60, time_limit=60)


def row(engine: Engine, number: int = 0) -> tuple[str, int, int]:
    """Return a row's status, and how often it was tried, and tried again."""
    columns = (Row.status, Row.attempts, Row.retries)
    with engine.connect() as connection:
        found = connection.execute(select(*columns).where(Row.number == number)).one()
    return tuple(found)  # type: ignore[return-value]  # the columns above


def all_is_done(books: Bookkeeper) -> None:
    """Wait for all that was asked for until now, and for what that asks for in its turn."""
    for _ in range(2):
        assert books.claim(("b", 7)) == Refused("not in the ledger")


class Slot(Future[Any]):
    """The future of a slot that is interrupted once while it waits, before the answer or after."""

    def __init__(self, error: BaseException, send: Callable[[], None], *, late: bool) -> None:
        super().__init__()
        self._error: BaseException | None = error
        self._send = send
        self._late = late

    def result(self, timeout: float | None = None) -> Any:
        error, self._error = self._error, None
        if self._late or error is None:
            self._send()
        if error is None:
            return super().result(timeout)
        if self._late:
            super().exception(30)
        raise error

    def cancel(self) -> bool:
        was_in_time = super().cancel()
        if not self._late:
            self._send()
        return was_in_time


def interrupt(
    books: Bookkeeper, monkeypatch: pytest.MonkeyPatch, error: BaseException, *, late: bool
) -> None:
    """Interrupt the slot of the next request, before or after the answer is there."""
    requests = books._requests

    def put(kind: str, what: Any) -> Request:
        monkeypatch.undo()
        slot = Slot(error, lambda: requests._queue.put(request), late=late)
        request = Request(kind, what, slot)
        return request

    monkeypatch.setattr(requests, "put", put)


def test_a_claim_says_who_runs_the_row_and_for_how_long(books: Bookkeeper, engine: Engine) -> None:
    assert isinstance(books.claim(("b", 0)), Assignment)
    with engine.connect() as connection:
        held = select(Row.worker, Row.claim, Row.lease_until > in_seconds(50)).where(
            Row.number == 0
        )
        assert tuple(connection.execute(held).one()) == ("w", books.holder, True)


def test_a_message_that_names_no_row_asks_the_ledger_nothing(books: Bookkeeper) -> None:
    key: Any = ("b", "x")
    assert books.claim(key) == Refused("its message names no row")


def test_a_row_whose_slot_ends_is_given_back_and_has_lost_no_retry(
    books: Bookkeeper, engine: Engine
) -> None:
    assignment = books.claim(("b", 0))
    assert isinstance(assignment, Assignment)
    assert books.running() == 1
    books.give_back(assignment)
    all_is_done(books)
    assert row(engine) == ("pending", 1, 0)
    assert books.running() == 0
    assert isinstance(books.claim(("b", 0)), Assignment)


@pytest.mark.parametrize("late", [False, True])
def test_a_claim_whose_slot_is_interrupted_leaves_the_row_as_it_was(
    books: Bookkeeper, engine: Engine, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    interrupt(books, monkeypatch, SystemExit(1), late=late)
    with pytest.raises(SystemExit):
        books.claim(("b", 0))
    all_is_done(books)
    assert row(engine) == ("pending", 0, 0)
    assert books.running() == 0


def test_a_claim_that_failed_meanwhile_has_nothing_to_give_back(
    books: Bookkeeper, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(books, monkeypatch, SystemExit(1), late=True)
    work = books._commits.commit

    def fail_once(*_: Any) -> None:
        books._commits.commit = work  # type: ignore[method-assign]  # as it was
        raise ZeroDivisionError

    books._commits.commit = fail_once  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        books.claim(("b", 0))
    all_is_done(books)
    assert row(engine) == ("pending", 0, 0)


def test_a_result_is_saved_although_the_time_limit_comes_while_it_waits(
    books: Bookkeeper, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(books.claim(("b", 0)), Assignment)
    interrupt(books, monkeypatch, SoftTimeLimitExceeded(), late=False)
    assert books.settle(Outcome(("b", 0), 1, "done", output={})) is True
    assert row(engine)[0] == "done"


def test_a_batch_that_is_stopped_has_its_reason(books: Bookkeeper, engine: Engine) -> None:
    books.stop_batch("b", "no such model")
    with engine.connect() as connection:
        assert connection.execute(select(Batch.status, Batch.reason)).all() == [
            ("stopped", "no such model")
        ]


def test_the_time_since_the_ledger_was_reached_is_counted_from_its_last_answer(
    books: Bookkeeper,
) -> None:
    books._commits.reached_at = time.monotonic() - 1000
    assert 1000 <= books.away_for() < 2000
    all_is_done(books)
    assert books.away_for() < 1000
