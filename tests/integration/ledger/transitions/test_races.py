"""Transactions that meet on PostgreSQL. SQLite's write one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import Connection, Engine, Executable, event, select, text, update

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import (
    claiming,
    feeding,
    finishing,
    followers,
    recording,
    settling,
    stopping,
)
from tests.support.changes import HOUR, Changes, changed_by, make_ledger


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = open_ledger(postgres_url, connections=3)
    migrate(engine)
    make_ledger(engine)
    yield engine
    engine.dispose()


def scalar(engine: Engine, statement: Executable) -> Any:
    with engine.connect() as connection:
        return connection.execute(statement).scalar()


def after(
    engine: Engine, first: Callable[[Connection], Any], then: Callable[[Connection], Any]
) -> tuple[Any, Changes]:
    """Let ``then`` wait for ``first``, which is committed meanwhile. Return as `changed_by`."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as connection:
            first(connection)
            result = thread.submit(changed_by, engine, then)
            while not scalar(engine, waits):
                assert not result.done()
        return result.result()


def test_a_row_that_ends_meanwhile_is_not_ended_again(engine: Engine) -> None:
    """Row 10 would be done, as the row that it follows."""

    def cancel_one(connection: Connection) -> None:
        row = update(Row).where(Row.batch_id == "b", Row.number == 10)
        connection.execute(row.values(status="cancelled"))

    moved, changes = after(engine, cancel_one, lambda c: followers.settle_followers(c, "b", by="f"))
    assert moved == 2
    assert changes.pop(("b", 10)) == {"status": "cancelled"}
    assert {key for key in changes if key[0] == "b"} == {("b", 18), ("b", 19)}


def test_a_batch_that_goes_on_meanwhile_keeps_its_rows(engine: Engine) -> None:
    """Between the look at its status and the move of its rows. Other batches are stopped still."""
    with engine.begin() as connection:
        connection.execute(update(Batch).values(status="stopped"))
    said = []

    def go_on(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE rows") and not said:
            said.append(statement)
            with engine.begin() as connection:
                stopping.reopen(connection, "b")

    event.listen(engine, "before_cursor_execute", go_on)
    moved, changes = changed_by(engine, lambda c: stopping.sweep(c, "b", by="f"))
    event.remove(engine, "before_cursor_execute", go_on)
    assert said
    assert (moved, changes) == (0, {"b": {"status": "loading", "failures_from": ANY}})


def test_rows_that_another_transaction_holds_are_swept_later(engine: Engine) -> None:
    with engine.begin() as connection:
        stopping.stop(connection, "b", "so")
    with engine.begin() as other:
        other.execute(update(Row).where(Row.batch_id == "b", Row.number == 2).values(worker="w"))
        with engine.begin() as connection:
            wait_briefly(connection)
            assert stopping.sweep(connection, "b", by="f") == 1
    with engine.begin() as connection:
        assert stopping.sweep(connection, "b", by="f") == 1


def test_leases_are_renewed_around_a_row_that_another_transaction_holds(engine: Engine) -> None:
    with engine.begin() as other:
        other.execute(update(Row).where(Row.batch_id == "b", Row.number == 3).values(error="x"))
        with engine.begin() as connection:
            wait_briefly(connection)
            keys = [("b", 3), ("b", 4)]
            claiming.renew(connection, keys, holder="h1", lease=2 * HOUR)
            leased = select(Row.number).where(
                Row.batch_id == "b", Row.lease_until > in_seconds(HOUR)
            )
            assert connection.execute(leased).scalars().all() == [4]


def claim(connection: Connection, *numbers: int, holder: str = "h8") -> list[int]:
    keys = [("b", number) for number in numbers]
    got = claiming.claim(connection, keys, holder=holder, worker="w", lease=HOUR)
    return [number for _, number in got]


def test_two_processes_do_not_both_claim_the_last_row_that_a_budget_pays_for(
    engine: Engine,
) -> None:
    """Ten rows may run while none has ended, and five do."""
    set_budgets(engine)
    got, _ = after(
        engine,
        lambda c: claim(c, 0, 1, 2, 14),
        lambda c: claim(c, 15, 16, holder="h9"),
    )
    assert got == [15]


def test_a_claim_within_a_budget_holds_up_no_other_batch_and_no_tally(engine: Engine) -> None:
    """Else a batch with a budget would do one thing at a time."""
    set_budgets(engine)
    with engine.begin() as other:
        assert claim(other, 0) == [0]
        with engine.begin() as connection:
            wait_briefly(connection)
            assert stopping.hold_batch(connection, "a") == "running"
            settling.write_tallies(connection, "h", {"b": {"done": 1}})


def test_a_batch_is_not_finished_with_a_row_that_is_retried_meanwhile(engine: Engine) -> None:
    """It would stay pending for ever."""
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.batch_id == "b").values(status="failed"))
    finished, changes = after(
        engine,
        lambda c: stopping.retry_failed(c, "b", [0], by="f"),
        lambda c: finishing.finish_batch(c, "b"),
    )
    assert finished is False
    assert "b" not in changes


def test_rows_that_another_transaction_holds_are_fed_later(engine: Engine) -> None:
    with engine.begin() as other:
        other.execute(update(Row).where(Row.batch_id == "b", Row.number == 0).values(error="x"))
        with engine.begin() as connection:
            wait_briefly(connection)
            assert feeding.feed(connection, "b", 100) == [14, 16]


def test_two_submissions_look_for_a_batch_one_after_the_other(engine: Engine) -> None:
    after(engine, recording.submit_alone, recording.submit_alone)


def test_a_batch_that_is_held_takes_tallies(engine: Engine) -> None:
    with engine.begin() as other:
        assert stopping.hold_batch(other, "b") == "running"
        with engine.begin() as connection:
            wait_briefly(connection)
            settling.write_tallies(connection, "h", {"b": {"done": 1}})


def set_budgets(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(Batch).values(max_cost=1.0))


def wait_briefly(connection: Connection) -> None:
    """Let a statement fail that another transaction holds up."""
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
