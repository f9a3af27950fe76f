"""Moves of a whole batch as several transactions."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import in_chunks
from tests.support.changes import make_ledger, picture
from tests.support.ledger import make_batch, statuses

#: What each transaction does is tested on both databases elsewhere.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: The rows of batch `b` that wait, and those that have failed.
WAITING = [0, 1, 2, 10, 11, 14, 15, 16, 17, 18, 19]
FAILED = [8, 12]


def commits(engine: Engine) -> list[object]:
    """Return the list of the transactions from now on."""
    found: list[object] = []
    event.listen(engine, "commit", found.append)
    return found


def in_state(engine: Engine, status: str) -> list[int]:
    return [number for number, found in enumerate(statuses(engine)) if found == status]


def tallied(engine: Engine) -> dict[str, Any]:
    return picture(engine).get(("tally", "b"), {})


@pytest.mark.parametrize(("rows_at_once", "transactions"), [(1, 12), (4, 4), (100, 2)])
def test_a_cancelled_batch_is_swept_to_its_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, transactions: int
) -> None:
    """The last transaction finds nothing more."""
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", rows_at_once)
    make_ledger(engine, "cancelled")
    began = commits(engine)
    assert in_chunks.sweep(engine, "b", by="f") == len(WAITING)
    assert len(began) == transactions
    assert in_state(engine, "cancelled") == sorted([*WAITING, 9])
    assert tallied(engine) == {"cancelled": len(WAITING)}


@pytest.mark.parametrize(("seconds", "swept"), [(0.0, 1), (2.0, 3), (2.5, 3), (1000.0, 11)])
def test_a_sweep_ends_after_its_seconds_and_the_next_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: float, swept: int
) -> None:
    """Each transaction takes a second here."""
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 1)
    clock = count(1000)
    monkeypatch.setattr(in_chunks, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    make_ledger(engine, "cancelled")
    assert in_chunks.sweep(engine, "b", by="f", seconds=seconds) == swept
    assert in_chunks.sweep(engine, "b", by="f") == len(WAITING) - swept


@pytest.mark.parametrize(("rows_at_once", "transactions"), [(1, 9), (2, 5), (3, 4), (100, 2)])
def test_rows_that_fail_again_meanwhile_are_tried_again_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, transactions: int
) -> None:
    """Else the command might never end. The first transaction looks for the rest of a cancel."""
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", rows_at_once)
    make_ledger(engine)
    of_b = Row.batch_id == "b"
    with engine.begin() as connection:
        connection.execute(update(Row).where(of_b, Row.number < 5).values(status="failed"))
    failed = [*range(5), *FAILED]
    began = commits(engine)
    moved = [0] * 20

    def fail_again(connection: Any, *_: Any) -> None:
        pending = select(Row.number).where(of_b, Row.status == "pending", Row.number.in_(failed))
        for number in connection.execute(pending).scalars().all():
            moved[number] += 1
        connection.execute(update(Row).where(of_b, Row.number.in_(failed)).values(status="failed"))

    event.listen(engine, "commit", fail_again)
    assert in_chunks.retry_failed(engine, "b", None, by="f") == failed
    event.remove(engine, "commit", fail_again)
    assert [number for number in range(20) if moved[number]] == failed
    assert max(moved) == 1
    assert len(began) == transactions
    assert tallied(engine) == {"failed": -len(failed)}


def test_the_rest_of_a_cancel_ends_before_failed_rows_are_tried_again(engine: Engine) -> None:
    make_ledger(engine, "cancelled")
    assert in_chunks.retry_failed(engine, "b", [FAILED[0]], by="f") == FAILED
    assert in_state(engine, "cancelled") == sorted([*WAITING, 9])
    assert in_state(engine, "pending") == FAILED
    assert tallied(engine) == {"cancelled": len(WAITING), "failed": -len(FAILED)}


def test_a_batch_with_more_failed_rows_than_fit_in_a_chunk_is_tried_again_whole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 300)
    make_batch(engine, 601)
    with engine.begin() as connection:
        connection.execute(update(Row).values(status="failed"))
    assert in_chunks.retry_failed(engine, "b", None, by="f") == list(range(601))
