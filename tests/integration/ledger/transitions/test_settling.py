"""What the end of an attempt writes to its row, its batch and the rows that follow it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from rowfleet.ledger.models import Row
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.transitions import claiming, followers, settling
from tests.support.changes import (
    CANCELLED,
    HOUR,
    KEYS,
    NUMBERS,
    SPENT,
    Changes,
    changed_by,
    make_ledger,
    of_b,
)
from tests.support.ledger import make_batch


def settle(engine: Engine, **ends: Any) -> tuple[set[int], Changes]:
    """Let holder h1 settle the first attempt of each row that a message may name."""
    outcomes = [Outcome(key, 1, **ends) for key in KEYS]
    settled, changes = changed_by(engine, lambda c: settling.settle(c, outcomes, holder="h1"))
    assert {batch_id for batch_id, _ in settled} <= {"b"}
    return {number for _, number in settled}, changes


ANSWER = {"answer": "no"}


FIRST_SPENT = {
    "calls": 3,
    "prompt_tokens": 14,
    "cached_tokens": 7,
    "completion_tokens": 11,
    "reasoning_tokens": 13,
    "cost_usd": 0.25,
    "possibly_billed": 4,
}


SECOND_SPENT = {
    "calls": 9,
    "prompt_tokens": 114,
    "cached_tokens": 37,
    "completion_tokens": 61,
    "reasoning_tokens": 33,
    "cost_usd": 0.75,
    "possibly_billed": 9,
}


#: Of four attempts, each with SPENT.
TALLIED = {
    "calls": 12,
    "prompt_tokens": 56,
    "cached_tokens": 28,
    "completion_tokens": 44,
    "reasoning_tokens": 52,
    "cost_usd": 1.0,
    "possibly_billed": 16,
    "priced": 4,
    "cost_squared": 0.25,
}


@pytest.mark.parametrize("status", ["running", "cancelled", "stopped"])
def test_settling_what_is_done(engine: Engine, status: str) -> None:
    """A row that follows one of them is done with it."""
    make_ledger(engine, status)
    settled, changes = settle(engine, status="done", output=ANSWER, spent=SPENT, latency=2.5)
    end = {"status": "done", "output": ANSWER, "finished_at": "past"}
    assert settled == {3, 4, 14, 15}
    assert changes == of_b(
        {
            3: {**end, "latency": 2.5, **SECOND_SPENT},
            **{key: {**end, "latency": 2.5, **FIRST_SPENT} for key in (4, 14, 15)},
            17: end,
        },
        done=5,
        **TALLIED,
    )


def test_settling_what_failed(engine: Engine) -> None:
    make_ledger(engine)
    settled, changes = settle(engine, status="failed", error="so", spent=Spent(calls=2))
    end = {"status": "failed", "error": "so", "finished_at": "past"}
    assert settled == {3, 4, 14, 15}
    assert changes == of_b(
        {
            3: {**end, "calls": 8, "cost_usd": None},
            **{key: {**end, "calls": 2} for key in (4, 14, 15)},
            17: end,
        },
        failed=5,
        calls=8,
        unpriced_calls=8,
    )


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_settling_what_is_tried_again(
    engine: Engine, status: str, begun: bool, counts: bool
) -> None:
    make_ledger(engine, status)
    settled, changes = settle(
        engine, status="pending", error="so", delay=HOUR, counts=counts, begun=begun
    )
    end: dict[str, Any] = {"error": "so"}
    if counts:
        end["retries"] = 1
    if not begun:
        end["attempts"] = 0
    assert settled == {3, 4}
    if status == "running":
        end |= {"status": "pending", "due_at": "future"}
        assert changes == of_b({3: end, 4: end})
    else:
        assert changes == of_b({3: end | CANCELLED, 4: end | CANCELLED}, cancelled=2) | {
            ("b", 17): {**CANCELLED, "error": "so"},
            ("tally", "b"): {"cancelled": 3.0},
        }


def test_a_row_that_is_tried_again_at_once_is_due(engine: Engine) -> None:
    make_ledger(engine)
    changes = settle(engine, status="pending")[1]
    pending = {"status": "pending", "retries": 1}
    assert changes == of_b({3: pending, 4: pending})


def test_an_attempt_that_ends_ends_no_other(engine: Engine) -> None:
    """Although its holder has further rows at their first attempt."""
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.number == 17).values(same_as=4))
    outcomes = [Outcome(("b", 3), 1, "done", output=ANSWER), Outcome(("b", 5), 1, "done")]
    settled, changes = changed_by(engine, lambda c: settling.settle(c, outcomes, holder="h1"))
    end = {"status": "done", "output": ANSWER, "finished_at": "past"}
    assert (settled, changes) == ({("b", 3)}, of_b({3: end}, done=1))


@pytest.mark.parametrize(
    ("before", "spent", "cost"),
    [
        ((0, None), Spent(0, cost_usd=0.0), 0.0),  # by rules, which cost nothing
        ((0, None), Spent(1, cost_usd=0.12345678), 0.12345678),
        ((0, None), Spent(1), None),
        ((1, 0.25), Spent(1, cost_usd=0.00000001), 0.25000001),
        ((1, 0.25), Spent(1), None),
        ((1, 0.25), Spent(), 0.25),
        ((1, None), Spent(1, cost_usd=0.25), None),  # the first call's cost is not known
        ((1, None), Spent(), None),
    ],
)
def test_what_a_row_costs_is_known_while_each_of_its_calls_is(
    engine: Engine, before: tuple[int, float | None], spent: Spent, cost: float | None
) -> None:
    """To a hundred-millionth of a dollar."""
    make_batch(engine, 1, batch_id="b" * 64)
    calls, known = before
    with engine.begin() as connection:
        values = {"status": "running", "attempts": 1, "claim": "h1", "calls": calls}
        connection.execute(update(Row).values(cost_usd=known, **values))
        outcome = Outcome(("b" * 64, 0), 1, "done", output=ANSWER, spent=spent)
        assert settling.settle(connection, [outcome], holder="h1") == {outcome.key}
        found = connection.execute(select(Row.cost_usd)).scalar_one()
    assert found is cost if cost is None else float(found) == cost


def test_an_answer_that_is_no_json_is_not_written(engine: Engine) -> None:
    make_ledger(engine)
    outcome = Outcome(("b", 3), 1, "done", output={"score": float("nan")})
    with engine.connect() as connection, pytest.raises(ValueError, match="JSON"):
        settling.settle(connection, [outcome], holder="h1")


@pytest.mark.parametrize(("attempts", "holder"), [(2, "h1"), (0, "h1"), (1, "h0"), (1, "h9")])
def test_an_attempt_that_is_not_the_last_settles_nothing(
    engine: Engine, attempts: int, holder: str
) -> None:
    make_ledger(engine)
    outcomes = [Outcome(key, attempts, "done", output=ANSWER, spent=SPENT) for key in KEYS]
    assert changed_by(engine, lambda c: settling.settle(c, outcomes, holder=holder)) == (
        set(),
        {},
    )


def test_what_is_settled_before(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:  # what becomes of other batches' rows says nothing
        connection.execute(update(Row).where(Row.batch_id != "b").values(status="done"))
    with engine.connect() as connection:

        def before(number: int, attempts: int = 1, holder: str = "h1") -> bool:
            outcome = Outcome(("b", number), attempts, "done")
            return settling.settled_before(connection, outcome, holder=holder)

        assert [number for number in NUMBERS if before(number)] == [7, 8, 14, 15]
        assert not any(before(7, attempts) for attempts in (0, 2))
        assert not any(before(7, holder=holder) for holder in ("h0", "h9"))


def test_settling_followers(engine: Engine) -> None:
    make_ledger(engine)
    moved, changes = changed_by(engine, lambda c: followers.settle_followers(c, "b", by="f"))
    assert moved == 3
    assert changes == of_b(
        {
            10: {"status": "done", "output": {"answer": "yes"}, "finished_at": "past"},
            18: {"status": "failed", "error": "no", "finished_at": "past"},
            19: CANCELLED,
        },
        done=1,
        failed=1,
        cancelled=1,
    )


def test_a_row_gets_the_end_of_the_row_of_its_own_batch(engine: Engine) -> None:
    """Other batches' rows of these numbers have ended, and so have rows before these."""
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(
            update(Row).where(Row.batch_id == "b", Row.number.in_([7, 8])).values(status="running")
        )
        connection.execute(update(Row).where(Row.number == 1).values(status="done"))
    moved, changes = changed_by(engine, lambda c: followers.settle_followers(c, "b", by="f"))
    assert (moved, changes) == (1, of_b({19: CANCELLED}, cancelled=1))


def test_followers_are_settled_in_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is spent on rows that wait, not on those that have ended."""
    monkeypatch.setattr(followers, "MOST_FOLLOWERS", 1)
    make_ledger(engine)
    moved = [
        changed_by(engine, lambda c: followers.settle_followers(c, "b", by="f")) for _ in range(4)
    ]
    assert [count for count, _ in moved] == [1, 1, 1, 0]
    assert {key for _, changes in moved for key in changes if key[0] == "b"} == {
        ("b", number) for number in (10, 18, 19)
    }


def test_a_result_is_saved_in_a_batch_with_the_longest_name(engine: Engine) -> None:
    name = "b" * 64
    make_batch(engine, 1, batch_id=name)
    with engine.begin() as connection:
        claiming.claim(connection, [(name, 0)], holder="h", worker="w", lease=HOUR)
        done = Outcome((name, 0), 1, "done", output=ANSWER)
        assert settling.settle(connection, [done], holder="h") == {(name, 0)}


def test_what_a_row_costs_stays_unknown_after_a_call_of_unknown_cost(engine: Engine) -> None:
    make_ledger(engine)
    row = (Row.batch_id == "b", Row.number == 3)
    with engine.begin() as connection:
        connection.execute(update(Row).where(*row).values(cost_usd=None))
        settling.settle(connection, [Outcome(("b", 3), 1, "done", spent=SPENT)], holder="h1")
        assert connection.execute(select(Row.calls, Row.cost_usd).where(*row)).one() == (9, None)
