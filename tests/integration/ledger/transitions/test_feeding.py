"""Which rows go to the queue and come back from it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update

from rowfleet.ledger.models import Batch
from rowfleet.ledger.statuses import BATCH_STATUSES
from rowfleet.ledger.transitions import feeding
from tests.support.changes import CANCELLED, NUMBERS, QUEUED, changed_by, make_ledger, of_b, picture


@pytest.mark.parametrize("status", BATCH_STATUSES)
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
