"""A ledger with rows in every state, and what a transition changes in it.

Three batches hold the same rows, one in each state; a transition is asked to move those of the
middle one. The tests compare the whole ledger before and after: a transition changes the rows and
batches that it is for, in each column, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, RemoteBatch, Row, Tally
from rowfleet.ledger.records import Spent
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
        column.name: int(column.server_default.arg)  # type: ignore[attr-defined]  # `text('0')` here
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
    """Return each row, batch, part and tally. Of a time: whether it is past or future."""
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
        for part in connection.execute(select(RemoteBatch.__table__)).mappings():
            values = {name: _time(name, value, moment) for name, value in part.items()}
            found["part", part["token"]] = values
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
    """Return what the transition returns, and each changed thing with its changed values.

    A thing that is gone has no values.
    """
    before = picture(engine)
    with engine.begin() as connection:
        result = transition(connection)
    after = picture(engine)
    changes: Changes = {key: {} for key in before if key not in after}
    for key, values in after.items():
        old = before.get(key, {})
        changed = {name: value for name, value in values.items() if old.get(name) != value}
        if changed or key not in before:
            changes[key] = changed
    return result, changes


def of_b(expected: Mapping[int, dict[str, Any]], **tallied: float) -> Changes:
    found: Changes = {("b", number): values for number, values in expected.items()}
    if tallied:
        found["tally", "b"] = dict(tallied)
    return found


QUEUED = {"status": "queued", "queued_at": "past"}


CANCELLED = {"status": "cancelled", "finished_at": "past"}


POISONED = {
    "status": "failed",
    "error": "its worker vanished 3 times while it ran this row",
    "finished_at": "past",
    "losses": 3,
}
