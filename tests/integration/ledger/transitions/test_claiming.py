"""Which rows a worker claims, keeps and loses."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import ProgrammingError

from rowfleet.ledger.engine import open_ledger, try_to_write
from rowfleet.ledger.models import Row
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import claiming
from tests.support.changes import (
    CANCELLED,
    HOUR,
    KEYS,
    NUMBERS,
    POISONED,
    Changes,
    changed_by,
    make_ledger,
    of_b,
)


@pytest.mark.parametrize("take_over", [True, False])
@pytest.mark.parametrize("status", BatchStatus)
def test_claiming(engine: Engine, status: str, take_over: bool) -> None:
    make_ledger(engine, status)
    options = {} if take_over else {"take_over": False}
    got, changes = changed_by(
        engine,
        lambda c: claiming.claim(c, KEYS, holder="h1", worker="w9", lease=HOUR, **options),
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


def test_a_row_has_as_many_tries_as_it_may_lose_workers(engine: Engine) -> None:
    """Also one that waits for its last: it fails when it loses that worker, too."""
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.number.in_([2, 14])).values(losses=2))
        connection.execute(update(Row).where(Row.number == 5).values(losses=1))
    keys = [("b", number) for number in (2, 5, 13, 14)]
    got, changes = changed_by(
        engine, lambda c: claiming.claim(c, keys, holder="h9", worker="w9", lease=HOUR)
    )
    assert {key[1]: row.losses for key, row in got.items()} == {2: 2, 5: 2, 14: 2}
    assert changes["b", 13] == {**POISONED, "claim": "h9"}


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

    def postpone(number: int, holder: str = "h1") -> Changes:
        return changed_by(
            engine, lambda c: claiming.postpone(c, ("b", number), holder=holder, delay=HOUR)
        )[1]

    assert [postpone(3, holder) for holder in ("h0", "h2")] == [{}] * 2

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


def test_trying_to_write_needs_room_on_the_disk(tmp_path: Path) -> None:
    """SQLite notices a full disk only where it has to write a page."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(engine)
    log = tmp_path / "ledger.db-wal"
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert log.stat().st_size == 0
    with engine.begin() as connection:
        try_to_write(connection)
    assert log.stat().st_size > 0
    engine.dispose()


def test_trying_to_write_needs_the_right_to_change_rows(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    migrate(engine)
    role = f"r_{uuid.uuid4().hex}"
    for table, is_enough in (("alembic_version", False), ("rows", True)):
        with engine.connect() as connection:  # all of it is rolled back
            connection.execute(text(f"CREATE ROLE {role}"))
            connection.execute(text(f"GRANT SELECT, UPDATE ON {table} TO {role}"))
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            with nullcontext() if is_enough else pytest.raises(ProgrammingError, match="denied"):
                try_to_write(connection)
    engine.dispose()


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
    """Its rows of all batches are free, and none of the workers whose names are around its own."""
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.number == 4).values(worker="w0"))
    moved, changes = changed_by(engine, lambda c: claiming.give_up(c, worker="w1", by="f"))
    assert moved == 3
    assert changes == {(batch_id, 3): {"status": "pending", "losses": 1} for batch_id in "abc"}
    moved, changes = changed_by(engine, lambda c: claiming.give_up(c, worker="w2", by="f"))
    assert moved == 9
    assert set(changes) == {(batch_id, n) for batch_id in "abc" for n in (5, 6, 13)} | {
        ("tally", batch_id) for batch_id in "abc"
    }
