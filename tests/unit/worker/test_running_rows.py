"""Which rows a process runs, and which hold their slots for good."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from rowfleet.ledger.models import Batch
from rowfleet.ledger.records import MAX_LOSSES, Claimed, Outcome, Spent
from rowfleet.ledger.statuses import CALLED_OFF, BatchStatus
from tests.support.ledger import make_batch
from worker.assignment import Assignment
from worker.running_rows import RunningRows


def assignment(number: int, losses: int = 0) -> Assignment:
    batch: Any = SimpleNamespace(record=SimpleNamespace(sheet_row=lambda number: number + 1))
    return Assignment(Claimed(("b", number), (), None, 1, 0, losses), batch, [])


def lost(*numbers: int) -> list[Outcome]:
    return [Outcome(("b", number), 1, "failed") for number in numbers]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def running(told: list[str]) -> RunningRows:
    """Three rows, the last of them at its last try."""
    running = RunningRows(60.0, lambda: told.append("stuck"))
    for number in range(3):
        running.add(assignment(number, losses=MAX_LOSSES - 1 if number == 2 else 0))
    return running


def test_the_worker_learns_once_that_a_slot_is_stuck(running: RunningRows, told: list[str]) -> None:
    running.lose_slots([])
    running.lose_slots(lost(7))  # its result came before
    assert (told, running.has_stuck()) == ([], False)
    running.lose_slots(lost(0))
    assert (told, running.has_stuck()) == (["stuck"], True)
    running.lose_slots(lost(0, 1))
    assert (told, running.has_stuck()) == (["stuck"], True)
    assert running.keys() == [("b", 2)]
    running.forget(("b", 0))
    assert running.has_stuck()
    running.forget(("b", 1))
    assert not running.has_stuck()


@pytest.mark.parametrize("ends", ["lose_slots", "forget"])
def test_the_last_try_ends_with_its_row_and_no_other(running: RunningRows, ends: str) -> None:
    def end(number: int) -> None:
        running.forget(("b", number)) if ends == "forget" else running.lose_slots(lost(number))

    end(0)
    running.add(assignment(3))
    assert running.has_last_try()
    assert (len(running), ("b", 0) in running, ("b", 2) in running) == (3, False, True)
    end(2)
    assert not running.has_last_try()


def test_slots_may_be_lost_where_the_worker_wants_to_hear_of_none() -> None:
    running = RunningRows(60.0)
    running.add(assignment(0))
    running.lose_slots(lost(0))
    assert running.has_stuck()


def of(batch_id: str, seconds: float = 0.0, *, is_paid: bool = True, attempts: int = 1) -> Any:
    """Return the assignment of a batch's only row, which has run for so many seconds."""
    batch: Any = SimpleNamespace(
        record=SimpleNamespace(sheet_row=lambda number: number + 12),
        kind=SimpleNamespace(is_paid=is_paid),
    )
    clock: Any = SimpleNamespace(seconds=lambda: seconds, is_called_off=False)
    return Assignment(Claimed((batch_id, 0), (), None, attempts, 0), batch, [], clock)


def test_a_row_over_the_time_limit_fails_and_its_call_may_cost_something() -> None:
    running = RunningRows(60.0)
    running.add(of("in time", 59.9))
    running.add(of("just in time", 60.0))
    running.add(of("paid", 60.1, attempts=3))
    running.add(of("free", 7000.0, is_paid=False))
    why = "over the hard time limit of 60 s"
    assert running.overdue() == [
        Outcome(("paid", 0), 3, "failed", error=why, spent=Spent(possibly_billed=1), latency=60.1),
        Outcome(("free", 0), 1, "failed", error=why, latency=7000.0),
    ]
    running.lose_slots(running.overdue())
    assert running.overdue() == []


def test_logs_call_a_row_by_its_place_in_the_sheet_or_by_its_batch() -> None:
    running = RunningRows(60.0)
    running.add(of("b"))
    assert running.name_of(("b", 0)) == "row 12 of b"
    assert running.name_of(("b", 1)) == "a row of b"
    running.forget(("b", 0))
    assert running.name_of(("b", 0)) == "a row of b"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_of_batches_that_have_ended_are_called_off(engine: Engine) -> None:
    running = RunningRows(60.0)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with engine.begin() as connection:
        running.call_off(connection)
        assert "batches" not in " ".join(statements)  # no row runs here
    rows = {}
    for status in BatchStatus:
        make_batch(engine, 1, batch_id=status)
        with engine.begin() as connection:
            connection.execute(update(Batch).where(Batch.id == status).values(status=status))
        rows[status] = of(status)
        running.add(rows[status])
    with engine.begin() as connection:
        running.call_off(connection)
    off = {status for status, row in rows.items() if row.clock.is_called_off}
    assert off == set(CALLED_OFF) == {BatchStatus.CANCELLED, BatchStatus.STOPPED}
    assert len(running) == len(rows)  # it is for their slots to end them
