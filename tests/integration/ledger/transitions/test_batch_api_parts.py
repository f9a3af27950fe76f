"""Which rows a part of the Batch API takes, holds and gives back."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from rowfleet.ledger.models import Batch, RemoteBatch
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import batch_api_parts
from tests.support.changes import CANCELLED, NUMBERS, changed_by, make_ledger, of_b


@pytest.mark.parametrize("status", BatchStatus)
def test_taking(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    taken, changes = changed_by(
        engine, lambda c: batch_api_parts.take_rows(c, "b", 100, claim="h9", worker="w9")
    )
    if status in ("loading", "running"):
        runs = {"status": "running", "claim": "h9", "worker": "w9"}
        assert taken == [(0, ["x"]), (14, ["x"]), (16, ["x"])]
        assert changes == of_b(
            {
                0: {**runs, "attempts": 1, "started_at": "past"},
                14: {**runs, "attempts": 2},
                16: {**runs, "attempts": 1, "started_at": "past"},
            }
        )
    else:
        assert (taken, changes) == ([], {})


def test_what_a_claim_holds(engine: Engine) -> None:
    make_ledger(engine)
    with engine.connect() as connection:
        found = batch_api_parts.held(connection, "b", NUMBERS, claim="h1")
        assert sorted(found) == [3, 4]
        assert batch_api_parts.held_numbers(connection, "b", 100, claim="h1") == [3, 4]
        assert batch_api_parts.held_numbers(connection, "b", 1, claim="h1") == [3]


@pytest.mark.parametrize("numbers", [None, [3, 5]])
@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_giving_back(engine: Engine, status: str, numbers: list[int] | None) -> None:
    make_ledger(engine, status)
    moved, changes = changed_by(
        engine, lambda c: batch_api_parts.give_back(c, "b", numbers, claim="h1")
    )
    expected = [3] if numbers else [3, 4]
    back = {"attempts": 0, "claim": None}
    assert moved == len(expected)
    if status == "running":
        pending = {**back, "status": "pending"}
        assert changes == of_b(dict.fromkeys(expected, pending))
    else:
        ended = {**back, **CANCELLED}
        assert changes == of_b(dict.fromkeys(expected, ended), cancelled=len(expected))


def test_parts_of_a_batch_are_counted_from_one(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(follower="f"))
        for batch_id, part in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)):
            token = f"{batch_id}{part}"
            assert batch_api_parts.open_part(connection, batch_id, token=token, follower="f")
            number = select(RemoteBatch.part).where(RemoteBatch.token == token)
            assert connection.execute(number).scalar_one() == part
        assert not batch_api_parts.open_part(connection, "b", token="t", follower="g")
