"""The bookkeeper: grouped claims and results, and a slot that is stuck for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, event, select

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import progress, rows
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.transitions import claiming
from tests.support.ledger import make_batch, statuses
from worker.assignment import Assignment, Refused
from worker.bookkeeper import Bookkeeper


def test_many_slots_claim_and_settle_through_one_connection(engine: Engine) -> None:
    make_batch(engine, 100)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)

    def run(number: int) -> bool:
        assignment = books.claim(("b", number))
        assert isinstance(assignment, Assignment)
        return books.settle(Outcome(("b", number), assignment.row.attempts, "done", output={}))

    with ThreadPoolExecutor(30) as threads:
        assert all(threads.map(run, range(100)))
    assert set(statuses(engine)) == {"done"}
    assert books.running() == 0


def test_a_row_is_refused_with_the_reason(engine: Engine) -> None:
    make_batch(engine, 1)
    first = Bookkeeper(engine, worker="w1", lease=60, time_limit=60)
    second = Bookkeeper(engine, worker="w2", lease=60, time_limit=60)
    assert isinstance(first.claim(("b", 0)), Assignment)
    for books in (first, second):
        assert books.claim(("b", 0)) == Refused("another worker runs it")
    first.settle(Outcome(("b", 0), 1, "done", output={}))
    assert second.claim(("b", 0)) == Refused("it is done already")
    assert second.claim(("b", 7)) == Refused("not in the ledger")


def test_a_slot_that_is_stuck_gives_its_row_up_and_the_worker_learns_of_it(
    engine: Engine, eventually: Callable[..., None]
) -> None:
    make_batch(engine, 2)
    stuck = threading.Event()
    books = Bookkeeper(engine, worker="w", lease=1, time_limit=0.5, on_stuck=stuck.set)
    assignment = books.claim(("b", 0))
    assert isinstance(assignment, Assignment)
    assert stuck.wait(10)
    assert books.is_stuck()
    assert books.running() == 0  # nothing is waited for when the worker drains
    eventually(lambda: statuses(engine) == ["failed", "pending"])
    with engine.connect() as connection:
        (row, _) = rows.recorded_rows(connection, "b")
    assert row.error == "over the hard time limit of 0.5 s"
    with engine.connect() as connection:
        assert (
            progress.progress_of(connection, "b").possibly_billed_calls == 1
        )  # its call never ended
    late = Outcome(("b", 0), assignment.row.attempts, "done", output={})
    assert not books.settle(late)  # the row has ended, and ends once
    assert statuses(engine) == ["failed", "pending"]
    assert not books.is_stuck()


def test_leases_are_renewed_while_rows_run(engine: Engine) -> None:
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w1", lease=4, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    threading.Event().wait(5)  # more than a lease
    with engine.connect() as connection:
        assert connection.execute(select(Row.lease_until > in_seconds(0))).scalar()
    other = Bookkeeper(engine, worker="w2", lease=4, time_limit=60)
    assert other.claim(("b", 0)) == Refused("another worker runs it")


def test_last_tries_are_made_one_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that have lost the same two workers, only one may be what killed those."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 3)
    keys = [("b", number) for number in range(3)]
    for dead in ("first", "second"):
        with engine.begin() as connection:
            claimed = claiming.claim(connection, keys, holder=dead, worker=dead, lease=-1)
        assert len(claimed) == 3
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    first = books.claim(keys[0])
    assert isinstance(first, Assignment)
    assert (first.row.losses, first.row.attempts) == (2, 3)
    for key in keys[1:]:
        refused = books.claim(key)
        assert isinstance(refused, Refused)
        assert "last try waits" in refused.why
    assert statuses(engine) == ["running", "pending", "pending"]
    assert books.settle(Outcome(keys[0], 3, "done", output={}))
    second = books.claim(keys[1])
    assert isinstance(second, Assignment)
    assert (second.row.losses, second.row.attempts) == (2, 3)


def test_what_is_asked_for_shortly_after_a_transaction_goes_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.slot_requests.APART", 1.0)
    make_batch(engine, 21)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 20)), Assignment)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    def claim(number: int) -> Assignment | Refused:
        threading.Event().wait(number * 0.05)
        return books.claim(("b", number))

    with ThreadPoolExecutor(20) as threads:
        assert all(isinstance(one, Assignment) for one in threads.map(claim, range(20)))
    assert len(commits) <= 6


def test_an_idle_process_leaves_the_ledger_alone_between_renewals(engine: Engine) -> None:
    """They are a quarter of a lease apart."""
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    statements: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *_: statements.append(_))
    threading.Event().wait(1)
    assert statements == []


def test_a_last_try_that_loses_its_slot_leaves_the_turn_to_the_next(
    engine: Engine, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 2)
    keys = [("b", 0), ("b", 1)]
    for dead in ("first", "second"):
        with engine.begin() as connection:
            claiming.claim(connection, keys, holder=dead, worker=dead, lease=-1)
    books = Bookkeeper(engine, worker="w", lease=1, time_limit=0.5)
    assert isinstance(books.claim(keys[0]), Assignment)
    eventually(books.is_stuck)
    eventually(lambda: isinstance(books.claim(keys[1]), Assignment))


def test_a_mistake_of_the_bookkeeper_is_raised_to_its_callers_and_holds_up_no_other_claim(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    with monkeypatch.context() as broken:
        broken.setattr(books._commits, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            books.claim(("b", 1))
    assert isinstance(books.claim(("b", 1)), Assignment)
