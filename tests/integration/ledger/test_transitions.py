"""Each transition changes the rows and batches that it is for, in each column, and no others.

Three batches hold the same rows, one in each state; a transition is asked to move those of the
middle one. The tests compare the whole ledger before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, update

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.engine import try_to_write
from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.statuses import BATCH_STATUSES, WAITING
from rowfleet.ledger.transitions import (
    batch_api_parts,
    claiming,
    feeding,
    finishing,
    recording,
    settling,
    stopping,
)
from tests.support.ledger import make_batch

HOUR = 3600.0

Changes = dict[Any, dict[str, Any]]

#: What an earlier attempt of row 3 used. Distinct numbers, and each sum has another value than each
#: product, quotient or remainder.
SPENT_BEFORE = {
    "calls": 6,
    "prompt_tokens": 100,
    "cached_tokens": 30,
    "completion_tokens": 50,
    "reasoning_tokens": 20,
    "possibly_billed": 5,
    "cost_usd": 0.5,
}
SPENT = Spent(
    calls=3,
    prompt_tokens=14,
    cached_tokens=7,
    completion_tokens=11,
    reasoning_tokens=13,
    cost_usd=0.25,
    possibly_billed=4,
)


def rows() -> dict[int, dict[str, Any]]:
    """Return a row in each state. Holder h1 is at worker w1, holder h2 at w2."""
    first = {"claim": "h1", "worker": "w1", "attempts": 1, "started_at": now()}
    second = {"claim": "h2", "worker": "w2", "attempts": 1, "started_at": now()}
    ended = {"finished_at": now(), **first}
    return {
        0: {"status": "pending"},
        1: {"status": "pending", "due_at": in_seconds(HOUR)},
        2: {"status": "queued", "queued_at": now()},
        3: {"status": "running", "lease_until": in_seconds(HOUR), **first, **SPENT_BEFORE},
        4: {"status": "running", "lease_until": in_seconds(-HOUR), **first},
        5: {"status": "running", "lease_until": in_seconds(-HOUR), **second},
        6: {"status": "running", "lease_until": in_seconds(HOUR), **second},
        7: {"status": "done", "output": {"answer": "yes"}, **ended},
        8: {"status": "failed", "error": "no", "retries": 2, "losses": 1, **ended},
        9: {"status": "cancelled", "finished_at": now()},
        10: {"status": "pending", "same_as": 7},
        11: {"status": "pending", "same_as": 0},
        12: {"status": "failed", "error": "no", "same_as": 8, "finished_at": now()},
        #: Its worker has vanished twice.
        13: {"status": "running", "lease_until": in_seconds(-HOUR), **second, "losses": 2},
        #: Put back since their lease ran out; their worker may still have an answer.
        14: {"status": "pending", **first},
        15: {"status": "queued", "queued_at": now(), **first},
        16: {"status": "pending", "due_at": in_seconds(-HOUR)},
        17: {"status": "pending", "same_as": 3},
        18: {"status": "pending", "same_as": 8},
        19: {"status": "pending", "same_as": 9},
    }


NUMBERS = sorted(rows())
#: Rows that a message may name: the others follow an earlier one.
KEYS = [("b", number) for number in NUMBERS if number not in (10, 11, 12, 17, 18, 19)]


def make_ledger(engine: Engine, status: str = "running", **terms: Any) -> None:
    """Record the batches: ``b`` with ``status`` and ``terms``, ``a`` and ``c`` run."""
    columns = Row.__table__.columns
    unset = {
        column.name: int(column.server_default.arg)  # type: ignore[attr-defined]
        if column.server_default is not None
        else None
        for column in columns
        if column.name not in ("batch_id", "number", "cells", "status")
    }
    for batch_id in "abc":
        of_batch = terms if batch_id == "b" else {}
        make_batch(engine, 0, batch_id=batch_id, **of_batch)
        with engine.begin() as connection:
            connection.execute(
                insert(Row).values(
                    [
                        {**unset, "batch_id": batch_id, "number": number, "cells": ["x"], **values}
                        for number, values in rows().items()
                    ]
                )
            )
            connection.execute(
                update(Batch).where(Batch.id == batch_id).values(total=20, dedupe=True)
            )
    with engine.begin() as connection:
        connection.execute(
            update(Batch)
            .where(Batch.id == "b")
            .values(status=status, reason=None if status == "running" else "a reason")
        )


def picture(engine: Engine) -> Changes:
    """Return each row, batch and tally. Of a time: whether it is past or future."""
    found: Changes = {}
    with engine.connect() as connection:
        moment = connection.execute(select(now())).scalar_one()
        for row in connection.execute(select(Row.__table__)).mappings():
            values = {name: _time(name, value, moment) for name, value in row.items()}
            if row["status"] != "running":
                del values["lease_until"]
            if row["status"] != "pending":
                del values["due_at"]
            found[row["batch_id"], row["number"]] = values
        for batch in connection.execute(select(Batch.__table__)).mappings():
            found[batch["id"]] = {name: _time(name, v, moment) for name, v in batch.items()}
        sums = [func.sum(c).label(c.name) for c in Tally.__table__.columns if not c.primary_key]
        for tally in connection.execute(
            select(Tally.batch_id, *sums).group_by(Tally.batch_id)
        ).mappings():
            found["tally", tally["batch_id"]] = {
                name: float(value) for name, value in tally.items() if name != "batch_id" and value
            }
    return found


def _time(name: str, value: Any, moment: Any) -> Any:
    if value is None or not name.endswith(("_at", "_until")):
        return value
    return "past" if value <= moment else "future"


def changed_by(engine: Engine, transition: Callable[[Connection], Any]) -> tuple[Any, Changes]:
    """Return what the transition returns, and each changed thing with its changed values."""
    before = picture(engine)
    with engine.begin() as connection:
        result = transition(connection)
    changes = {}
    for key, values in picture(engine).items():
        old = before.get(key, {})
        changed = {name: value for name, value in values.items() if old.get(name) != value}
        if changed:
            changes[key] = changed
    return result, changes


def of_b(expected: Mapping[int, dict[str, Any]], **tallied: float) -> Changes:
    found: Changes = {("b", number): values for number, values in expected.items()}
    if tallied:
        found["tally", "b"] = dict(tallied)
    return found


QUEUED = {"status": "queued", "queued_at": "past"}
CANCELLED = {"status": "cancelled", "finished_at": "past"}


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


@pytest.mark.parametrize("status", BATCH_STATUSES)
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


POISONED = {
    "status": "failed",
    "error": "its worker vanished 3 times while it ran this row",
    "finished_at": "past",
    "losses": 3,
}


@pytest.mark.parametrize("take_over", [True, False])
@pytest.mark.parametrize("status", BATCH_STATUSES)
def test_claiming(engine: Engine, status: str, take_over: bool) -> None:
    make_ledger(engine, status)
    got, changes = changed_by(
        engine,
        lambda c: claiming.claim(
            c, KEYS, holder="h1", worker="w9", lease=HOUR, take_over=take_over
        ),
    )
    lost = {"status": "pending"}
    if status in ("loading", "running"):
        runs = {"status": "running", "worker": "w9", "lease_until": "future"}
        first = {**runs, "claim": "h1", "attempts": 1, "started_at": "past"}
        again = {**runs, "attempts": 2}
        expected: dict[int, dict[str, Any]] = {
            **dict.fromkeys((0, 1, 2, 16), first),
            **dict.fromkeys((14, 15), again),
            3: {"worker": "w9", "attempts": 2},
            4: {"worker": "w9", "attempts": 2, "lease_until": "future"},
        }
        tallied = {}
        if take_over:
            taken = {"claim": "h1", "worker": "w9", "attempts": 2, "losses": 1}
            expected[5] = {**taken, "lease_until": "future"}
            expected[13] = {**POISONED, "claim": "h1"}
            tallied = {"failed": 1}
        assert changes == of_b(expected, **tallied)
        runs_here = sorted(set(expected) - {13})
        assert sorted(got) == [("b", number) for number in runs_here]
        assert {key[1]: row.attempts for key, row in got.items()} == {
            number: expected[number]["attempts"] for number in runs_here
        }
        assert {key[1] for key, row in got.items() if row.losses} == ({5} if take_over else set())
        return
    assert got == {}
    if not take_over:
        assert changes == {}
    elif status == "cancelled":
        lost = {**CANCELLED, "losses": 1}
        assert changes == of_b({4: lost, 5: lost, 13: POISONED}, cancelled=2, failed=1)
    else:
        lost = {"status": "pending", "losses": 1}
        assert changes == of_b({4: lost, 5: lost, 13: POISONED}, failed=1)


def test_a_row_that_waits_loses_no_worker_when_another_takes_it(engine: Engine) -> None:
    """Although its last claim stands: only a row that runs has a worker to lose."""
    make_ledger(engine)
    keys = [("b", number) for number in (0, 2, 14, 15)]
    got, _ = changed_by(
        engine, lambda c: claiming.claim(c, keys, holder="h9", worker="w9", lease=HOUR)
    )
    assert {key[1]: row.losses for key, row in got.items()} == {0: 0, 2: 0, 14: 0, 15: 0}


def test_claiming_within_a_budget(engine: Engine) -> None:
    """While none has ended ten rows may run; five do, so five of those that ask get their turn."""
    make_ledger(engine, max_cost=1.0)
    keys = [("b", number) for number in (0, 1, 2, 14, 15, 16)]
    got, changes = changed_by(
        engine, lambda c: claiming.claim(c, keys, holder="h1", worker="w9", lease=HOUR)
    )
    assert sorted(number for _, number in got) == [0, 1, 2, 14, 15]
    assert {number for _, number in changes} == {0, 1, 2, 14, 15}
    other = [("b", 16), ("c", 0)]
    got, changes = changed_by(
        engine, lambda c: claiming.claim(c, other, holder="h1", worker="w9", lease=HOUR)
    )
    assert sorted(got) == [("c", 0)]
    assert list(changes) == [("c", 0)]


def test_what_a_budget_does_not_pay_for_leaves_the_queue(engine: Engine) -> None:
    make_ledger(engine, max_cost=0.0)
    got, changes = changed_by(
        engine, lambda c: claiming.claim(c, KEYS, holder="h9", worker="w9", lease=HOUR)
    )
    back = {"status": "pending", "queued_at": None}
    assert (got, changes) == ({}, of_b({2: back, 15: back}))


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_postponing(engine: Engine, status: str) -> None:
    make_ledger(engine, status)

    def postpone(number: int) -> Changes:
        return changed_by(
            engine, lambda c: claiming.postpone(c, ("b", number), holder="h1", delay=HOUR)
        )[1]

    if status == "running":
        assert postpone(3) == of_b({3: {"status": "pending", "attempts": 0, "due_at": "future"}})
    else:
        assert postpone(3) == of_b({3: {**CANCELLED, "attempts": 0}}, cancelled=1)
    assert [postpone(number) for number in (2, 5, 6, 7, 14, 15)] == [{}] * 6


def test_renewing(engine: Engine) -> None:
    make_ledger(engine)

    def renew(*numbers: int, lease: float) -> Changes:
        keys = [("b", number) for number in numbers]
        return changed_by(engine, lambda c: claiming.renew(c, keys, holder="h1", lease=lease))[1]

    assert renew(3, lease=HOUR) == {}
    assert renew(*NUMBERS, lease=HOUR) == of_b({4: {"lease_until": "future"}})
    assert renew(3, lease=-HOUR) == of_b({3: {"lease_until": "past"}})


def test_trying_to_write_changes_nothing(engine: Engine) -> None:
    make_ledger(engine)
    assert changed_by(engine, try_to_write) == (None, {})


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
    moved, changes = changed_by(engine, lambda c: settling.settle_followers(c, "b", by="f"))
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


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_expiring(engine: Engine, status: str) -> None:
    make_ledger(engine, status)

    def expire(grace: float) -> tuple[int, Changes]:
        return changed_by(engine, lambda c: claiming.expire(c, "b", grace=grace, by="f"))

    assert expire(2 * HOUR) == (0, {})
    if status == "running":
        lost = {"status": "pending", "losses": 1}
        assert expire(60) == (3, of_b({4: lost, 5: lost, 13: POISONED}, failed=1))
    else:
        lost = {**CANCELLED, "losses": 1}
        assert expire(60) == (3, of_b({4: lost, 5: lost, 13: POISONED}, failed=1, cancelled=2))


def test_giving_up_a_worker(engine: Engine) -> None:
    """Its rows of all batches are free. That of a worker after it in the alphabet is not."""
    make_ledger(engine)
    moved, changes = changed_by(engine, lambda c: claiming.give_up(c, worker="w1", by="f"))
    lost = {"status": "pending", "losses": 1}
    assert moved == 6
    assert changes == {(batch_id, n): lost for batch_id in "abc" for n in (3, 4)}
    moved, changes = changed_by(engine, lambda c: claiming.give_up(c, worker="w2", by="f"))
    assert moved == 9
    assert set(changes) == {(batch_id, n) for batch_id in "abc" for n in (5, 6, 13)} | {
        ("tally", batch_id) for batch_id in "abc"
    }


Change = Callable[[Connection], Any]


@pytest.mark.parametrize("status", BATCH_STATUSES)
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
            {"status": "loading", "reason": None},
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
    make_ledger(engine, sample=[10, 0])
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
    changes = changed_by(engine, lambda c: recording.finish_loading(c, "b"))[1]
    assert changes == {"b": {"status": "running", "sample": [0, 7]}}


#: Rows that wait, in the order in which they are swept.
SWEPT = [2, 15, 0, 1, 14, 16, 11, 17, 10, 18, 19]


@pytest.mark.parametrize("status", BATCH_STATUSES)
def test_cancelling(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    result, changes = changed_by(engine, lambda c: stopping.cancel(c, "b", by="f"))
    if status in ("finished", "cancelled"):
        assert (result, changes) == (False, {})
        return
    batch = changes.pop("b")
    assert batch.pop("reason", None) is None
    assert batch == CANCELLED
    assert (result, changes) == (True, of_b(dict.fromkeys(SWEPT, CANCELLED), cancelled=11))


@pytest.mark.parametrize("status", BATCH_STATUSES)
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


@pytest.mark.parametrize("status", BATCH_STATUSES)
def test_retrying(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    numbers, changes = changed_by(engine, lambda c: stopping.retry_failed(c, "b", None, by="f"))
    again = {"status": "pending", "finished_at": None, "error": None}
    expected = of_b({8: {**again, "retries": 0, "losses": 0}, 12: again}, failed=-2)
    if status in ("finished", "cancelled", "sampled"):
        expected["b"] = {"status": "running", "reason": None}
    assert numbers == [8, 12]
    assert changes == expected


def test_retrying_some_or_in_steps(engine: Engine) -> None:
    def retried(numbers: list[int] | None = None, **which: int) -> list[int]:
        with engine.connect() as connection:  # and takes it back
            return stopping.retry_failed(connection, "b", numbers, by="f", **which)

    make_ledger(engine)
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


def all_end(engine: Engine, batch_id: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.batch_id == batch_id).values(status="done"))


@pytest.mark.parametrize("status", BATCH_STATUSES)
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
        change = {"status": "finished", "finished_at": "past"}
        if status != "running":
            change["reason"] = None  # type: ignore[assignment]
        assert finish() == (True, {"b": change})
    else:
        assert finish() == (False, {})
    assert changed_by(engine, lambda c: finishing.finish_batch(c, "no such batch"))[1] == {}


@pytest.mark.parametrize("status", BATCH_STATUSES)
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


@pytest.mark.parametrize("status", BATCH_STATUSES)
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


def test_recording_rows(engine: Engine) -> None:
    """Rows that are there stay, of those that are new the first with a hash is asked about."""
    make_ledger(engine, "loading")
    new = [(n, ["y"], f"i{n}") for n in (19, 20, 21, 22)]
    sent = {19: "s", 20: "t", 21: "t", 22: "t"}
    made, changes = changed_by(engine, lambda c: recording.record_rows(c, "b", new, sent))
    assert made == 3
    assert changes.pop("b") == {"total": 23}
    assert {key: (row.get("sent"), row.get("same_as")) for key, row in changes.items()} == {
        ("b", 20): ("t", None),
        ("b", 21): (None, 20),
        ("b", 22): (None, 20),
    }
    further = [(n, ["y"], None) for n in (23, 24)]
    made, changes = changed_by(
        engine, lambda c: recording.record_rows(c, "b", further, {23: "u", 24: "t"})
    )
    assert made == 2
    assert {key: (row.get("sent"), row.get("same_as")) for key, row in changes.items()} == {
        ("b", 23): ("u", None),
        ("b", 24): (None, 20),
        "b": (None, None),
    }
    assert changed_by(engine, lambda c: recording.record_rows(c, "b", [], {})) == (0, {})
    for numbers, new in (
        ([30], [30]),
        ([29, 30, 31], [29, 31]),
        ([31, 32], [32]),
        ([28, 29], [28]),
    ):
        rows_of = [(n, ["y"], None) for n in numbers]
        made, changes = changed_by(engine, lambda c, r=rows_of: recording.record_rows(c, "b", r))
        assert made == len(new)
        assert set(changes) == {"b", *(("b", n) for n in new)}


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
