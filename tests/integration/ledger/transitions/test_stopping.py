"""What users and the API stop, go on with, cancel and retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from sqlalchemy import Connection, Engine, update

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.statuses import WAITING, BatchStatus
from rowfleet.ledger.transitions import recording, stopping
from tests.support.changes import CANCELLED, HOUR, changed_by, make_ledger, of_b

Change = Callable[[Connection], Any]


@pytest.mark.parametrize("status", BatchStatus)
def test_changing_a_batch(engine: Engine, status: str) -> None:
    """Each change is for batches of some states."""
    changes: dict[str, tuple[Change, tuple[str, ...], dict[str, Any]]] = {
        "stop": (
            lambda c: stopping.stop(c, "b", "so"),
            ("loading", "running"),
            {"status": "stopped", "reason": "so"},
        ),
        "reopen": (
            lambda c: stopping.reopen(c, "b"),
            ("stopped",),
            {"status": "loading", "reason": None, "failures_from": ANY},
        ),
        "finish loading": (
            lambda c: recording.finish_loading(c, "b"),
            ("loading",),
            {"status": "running"},
        ),
        "end sample": (
            lambda c: stopping.end_sample(c, "b"),
            ("sampled",),
            {"status": "running"},
        ),
        "set budget": (
            lambda c: stopping.set_budget(c, "b", None),
            ("budget_exhausted",),
            {"status": "running", "reason": None},
        ),
    }
    make_ledger(engine, status)
    for change, before, after in changes.values():
        with engine.begin() as connection:
            connection.execute(
                update(Batch).where(Batch.id == "b").values(status=status, reason="a reason")
            )
        result, changed = changed_by(engine, change)
        assert changed == ({"b": after} if status in before else {})
        assert result in (None, status in before)


def test_what_a_user_says_of_a_batch_is_noted(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(sample=[10, 0], max_cost=1.0))
    recipe = {"name": "another"}
    for change, values in (
        (lambda c: recording.describe(c, "b", recipe), {"recipe": recipe}),
        (lambda c: stopping.set_budget(c, "b", 2.5), {"max_cost": 2.5}),
        (lambda c: stopping.move_queue(c, "b", "p"), {"queue": "p"}),
        (lambda c: stopping.move_queue(c, "b", "n", before="q"), {}),
        (
            lambda c: stopping.move_queue(c, "b", "n", before="p", urgent=True),
            {"queue": "n", "urgent": True},
        ),
        (lambda c: stopping.move_queue(c, "b", "n", urgent=False), {"urgent": False}),
        (lambda c: stopping.end_sample(c, "b"), {"sample": None}),
    ):
        assert changed_by(engine, change)[1] == ({"b": values} if values else {})


def test_a_row_of_the_sample_that_follows_another_gives_its_place_to_that(engine: Engine) -> None:
    make_ledger(engine, "loading", sample=[10, 0, 11])
    with engine.begin() as connection:  # rows of other batches follow none
        connection.execute(update(Row).where(Row.batch_id != "b").values(same_as=None))
    changes = changed_by(engine, lambda c: recording.finish_loading(c, "b"))[1]
    assert changes == {"b": {"status": "running", "sample": [0, 7]}}


#: Rows that wait, in the order in which they are swept.
SWEPT = [2, 15, 0, 1, 14, 16, 11, 17, 10, 18, 19]


@pytest.mark.parametrize("status", BatchStatus)
def test_cancelling(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    result, changes = changed_by(engine, lambda c: stopping.cancel(c, "b", by="f"))
    if status in ("finished", "cancelled"):
        assert (result, changes) == (False, {})
        return
    assert changes.pop("b") == CANCELLED | ({} if status == "running" else {"reason": None})
    assert (result, changes) == (True, of_b(dict.fromkeys(SWEPT, CANCELLED), cancelled=11))


def test_cancelling_ends_as_many_rows_as_it_is_asked_to(engine: Engine) -> None:
    make_ledger(engine)
    _, changes = changed_by(engine, lambda c: stopping.cancel(c, "b", by="f", limit=3))
    assert changes == {"b": CANCELLED, **of_b(dict.fromkeys([0, 2, 15], CANCELLED), cancelled=3)}


@pytest.mark.parametrize("status", BatchStatus)
def test_sweeping(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    moved, changes = changed_by(engine, lambda c: stopping.sweep(c, "b", by="f"))
    if status == "cancelled":
        assert (moved, changes) == (11, of_b(dict.fromkeys(SWEPT, CANCELLED), cancelled=11))
    elif status in ("stopped", *WAITING):
        back = {"status": "pending", "queued_at": None}
        assert (moved, changes) == (2, of_b({2: back, 15: back}))
    else:
        assert (moved, changes) == (0, {})


def test_sweeping_in_steps(engine: Engine) -> None:
    make_ledger(engine, "cancelled")
    swept: list[int] = []
    while True:
        moved, changes = changed_by(engine, lambda c: stopping.sweep(c, "b", by="f", limit=3))
        assert moved == len(changes) - bool(moved)
        if not moved:
            break
        swept.append(moved)
    assert swept == [3, 3, 3, 2]


@pytest.mark.parametrize("status", BatchStatus)
def test_retrying(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.batch_id != "b").values(status="done"))
        connection.execute(update(Batch).values(finished_at=now()))
        connection.execute(update(Row).where(Row.number == 8).values(due_at=in_seconds(HOUR)))
    numbers, changes = changed_by(engine, lambda c: stopping.retry_failed(c, "b", None, by="f"))
    again = {"status": "pending", "finished_at": None, "error": None}
    expected = of_b({8: {**again, "retries": 0, "losses": 0}, 12: again}, failed=-2)
    if status in ("finished", "cancelled", "sampled"):
        expected["b"] = {"status": "running", "reason": None, "finished_at": None}
    assert numbers == [8, 12]
    assert changes == expected


def test_retrying_some_or_in_steps(engine: Engine) -> None:
    def retried(numbers: list[int] | None = None, **which: int) -> list[int]:
        with engine.connect() as connection:  # and takes it back
            return stopping.retry_failed(connection, "b", numbers, by="f", **which)

    make_ledger(engine)
    with engine.begin() as connection:  # rows of other batches follow others
        connection.execute(
            update(Row).where(Row.batch_id != "b", Row.number.in_((7, 9))).values(same_as=8)
        )
        connection.execute(  # and have failed before
            update(Row).where(Row.batch_id != "b", Row.number < 3).values(status="failed")
        )
    assert retried([8]) == retried([12]) == [8, 12]  # they are answered together
    assert retried([7, 9]) == []
    assert retried(limit=1) == [8]
    assert retried(after=8) == [12]
    assert retried(after=7) == [8, 12]
    assert retried(after=12) == []
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id == "b").values(status="cancelled"))
    assert retried(after=7) == []
    assert retried() == [8, 12]
    with engine.connect() as connection:
        assert stopping.retry_failed(connection, "no such batch", None, by="f") == []
