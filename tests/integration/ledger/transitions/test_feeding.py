"""Which rows go to the queue and come back from it."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, update

from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import batch_api_parts, feeding, recording
from tests.support.changes import CANCELLED, NUMBERS, QUEUED, changed_by, make_ledger, of_b, picture
from tests.support.ledger import make_batch


@pytest.mark.parametrize("status", BatchStatus)
def test_feeding(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    fed, changes = changed_by(engine, lambda c: feeding.feed(c, "b", 100))
    if status in ("loading", "running"):
        assert fed == [0, 14, 16]
        assert changes == of_b(dict.fromkeys(fed, QUEUED))
    else:
        assert (fed, changes) == ([], {})


def test_feeding_stops_at_its_limit_and_is_for_the_workers_tier(engine: Engine) -> None:
    make_ledger(engine)
    assert changed_by(engine, lambda c: feeding.feed(c, "b", 2))[0] == [0, 14]
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id == "b").values(tier="batch"))
    assert changed_by(engine, lambda c: feeding.feed(c, "b", 2)) == ([], {})


def test_rows_of_an_ordered_batch_are_fed_in_its_order_once_all_are_recorded(
    engine: Engine,
) -> None:
    make_batch(engine, 4, order_by="Amount:desc", ranks=[2, 0, 3, 1], loaded=False)
    with engine.begin() as connection:
        assert feeding.feed(connection, "b", 100) == []
        (standing,) = fleet.standings(connection, ["b"])
        assert not standing.may_be_fed
        assert fleet.seconds_to_next(connection, ["b"], 75) is None
        recording.finish_loading(connection, "b")
        (standing,) = fleet.standings(connection, ["b"])
        assert standing.may_be_fed
        assert feeding.feed(connection, "b", 3) == [1, 3, 0]
        assert feeding.feed(connection, "b", 3) == [2]


def test_the_batch_api_takes_the_rows_of_an_ordered_batch_in_its_order(engine: Engine) -> None:
    make_batch(
        engine, 4, order_by="Amount", ranks=[2, 0, 3, 1], tier="batch", queue="x", loaded=False
    )

    def taken(connection: Connection) -> list[int]:
        rows = batch_api_parts.take_rows(connection, "b", 2, claim="c", worker="w")
        return [number for number, _ in rows]

    with engine.begin() as connection:
        assert taken(connection) == []
        recording.finish_loading(connection, "b")
        assert taken(connection) == [1, 3]
        assert taken(connection) == [0, 2]


def test_a_fed_row_that_comes_back_is_due_at_once(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:
        feeding.feed(connection, "b", 100)
        feeding.put_back(connection, "b", [16], by="f")
    assert picture(engine)["b", 16]["due_at"] is None


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_putting_back(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    moved, changes = changed_by(engine, lambda c: feeding.put_back(c, "b", NUMBERS, by="f"))
    assert moved == 2
    if status == "running":
        back = {"status": "pending", "queued_at": None}
        assert changes == of_b({2: back, 15: back})
    else:
        ended = {**CANCELLED, "queued_at": None}
        assert changes == of_b({2: ended, 15: ended}, cancelled=2)


def test_as_many_rows_are_fed_as_the_budget_admits(engine: Engine) -> None:
    """Ten while none has ended. Seven are queued or run, four are due."""
    make_ledger(engine, max_cost=1.0)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.number == 1).values(due_at=None))
    assert changed_by(engine, lambda c: feeding.feed(c, "b", 2))[0] == [0, 1]
    assert changed_by(engine, lambda c: feeding.feed(c, "b", 100))[0] == [14]
    assert changed_by(engine, lambda c: feeding.feed(c, "b", 100)) == ([], {})
    assert changed_by(engine, lambda c: feeding.feed(c, "a", 100))[0] == [0, 1, 14, 16]


def test_rows_whose_messages_are_there_are_not_put_back(engine: Engine) -> None:
    make_ledger(engine)
    moved, changes = changed_by(engine, lambda c: feeding.put_back(c, "b", [15, 3], by="f"))
    assert (moved, changes) == (1, of_b({15: {"status": "pending", "queued_at": None}}))
