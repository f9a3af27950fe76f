"""When a batch ends by itself, and with which status."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, update

from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import finishing, stopping
from tests.support.changes import CANCELLED, Changes, changed_by, make_ledger, of_b


def all_end(engine: Engine, batch_id: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.batch_id == batch_id).values(status="done"))


@pytest.mark.parametrize("status", BatchStatus)
def test_finishing(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    for batch_id in "ac":
        all_end(engine, batch_id)

    def finish(number: int | None = None, left: str = "done") -> tuple[bool, Changes]:
        all_end(engine, "b")
        with engine.begin() as connection:
            connection.execute(
                update(Row).where(Row.batch_id == "b", Row.number == number).values(status=left)
            )
        return changed_by(engine, lambda c: finishing.finish_batch(c, "b"))

    for left in ("pending", "queued", "running"):
        assert finish(3, left) == (False, {})
    assert finish(10, "pending") == (False, {})
    if status in ("running", "budget_exhausted"):
        change: dict[str, str | None] = {"status": "finished", "finished_at": "past"}
        if status != "running":
            change["reason"] = None
        assert finish() == (True, {"b": change})
    else:
        assert finish() == (False, {})
    assert changed_by(engine, lambda c: finishing.finish_batch(c, "no such batch"))[1] == {}


@pytest.mark.parametrize("status", BatchStatus)
def test_finishing_a_sample(engine: Engine, status: str) -> None:
    make_ledger(engine, status, sample=[7, 8, 9])
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id != "b").values(sample=[7]))

    def finish(*sample: int) -> tuple[bool, Changes]:
        with engine.begin() as connection:
            connection.execute(
                update(Batch).where(Batch.id == "b").values(sample=list(sample) or None)
            )
        return changed_by(engine, lambda c: finishing.finish_sample(c, "b"))

    for unfinished in (0, 2, 3):
        assert finish(7, unfinished) == (False, {})
    assert finish() == (False, {})
    if status == "running":
        assert finish(7, 8, 9) == (True, {"b": {"status": "sampled"}})
    else:
        assert finish(7, 8, 9) == (False, {})


@pytest.mark.parametrize("status", BatchStatus)
def test_exhausting(engine: Engine, status: str) -> None:
    make_ledger(engine, status, max_cost=0.0)
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id != "b").values(max_cost=100))
    result, changes = changed_by(engine, lambda c: finishing.exhaust(c, "b", by="f"))
    if status != "running":
        assert (result, changes) == (False, {})
        return
    back = {"status": "pending", "queued_at": None}
    batch = changes.pop("b")
    assert batch.pop("reason")
    assert batch == {"status": "budget_exhausted"}
    assert (result, changes) == (True, of_b({2: back, 15: back}))
    for batch_id in "ac":
        assert changed_by(engine, lambda c, of=batch_id: finishing.exhaust(c, of, by="f")) == (
            False,
            {},
        )


def test_what_a_person_says_just_before_an_end_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed between a look at the batch and the hold of it."""
    make_ledger(engine, sample=[7], max_cost=0.0)
    hold = finishing.hold_batch

    def hold_late(connection: Connection, batch_id: str) -> str | None:
        stopping.end_sample(connection, batch_id)
        stopping.set_budget(connection, batch_id, None)
        return hold(connection, batch_id)

    monkeypatch.setattr(finishing, "hold_batch", hold_late)
    said = {"b": {"sample": None, "max_cost": None}}
    assert changed_by(engine, lambda c: finishing.finish_sample(c, "b")) == (False, said)
    with engine.begin() as connection:
        stopping.set_budget(connection, "b", 0.0)
    said = {"b": {"max_cost": None}}
    assert changed_by(engine, lambda c: finishing.exhaust(c, "b", by="f")) == (False, said)

    def hold_cancelled(connection: Connection, batch_id: str) -> str | None:
        stopping.cancel(connection, batch_id, by="f")
        return hold(connection, batch_id)

    with engine.begin() as connection:
        stopping.set_budget(connection, "b", 0.0)
    monkeypatch.setattr(finishing, "hold_batch", hold_cancelled)
    ended, changes = changed_by(engine, lambda c: finishing.exhaust(c, "b", by="f"))
    assert ended is False
    assert changes["b"] == CANCELLED


def test_a_batch_ends_by_its_own_rows(engine: Engine) -> None:
    """Rows of these numbers wait and run in the others, and none of those ends."""
    make_ledger(engine, sample=[7])
    with engine.begin() as connection:
        connection.execute(update(Batch).values(sample=[7]))
        connection.execute(update(Row).where(Row.batch_id != "b").values(status="running"))
    finish_sample = changed_by(engine, lambda c: finishing.finish_sample(c, "b"))
    assert finish_sample == (True, {"b": {"status": "sampled"}})
    with engine.begin() as connection:
        connection.execute(update(Batch).values(status="running"))
        connection.execute(update(Row).values(status="pending"))
    all_end(engine, "b")
    change = {"status": "finished", "finished_at": "past"}
    assert changed_by(engine, lambda c: finishing.finish_batch(c, "b")) == (True, {"b": change})


def test_a_budget_that_pays_for_more_rows_is_not_exhausted_while_none_runs(engine: Engine) -> None:
    make_ledger(engine, max_cost=1.0)
    all_end(engine, "b")
    assert changed_by(engine, lambda c: finishing.exhaust(c, "b", by="f")) == (False, {})
