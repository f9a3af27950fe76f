"""A worker takes rows, holds them with a lease, and loses them with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Float,
    String,
    Text,
    and_,
    bindparam,
    case,
    exists,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import budget
from rowfleet.ledger.records import MAX_LOSSES, Claimed, Key
from rowfleet.ledger.statuses import ACTIVE, ROW_UNCLAIMED, RowStatus
from rowfleet.ledger.transitions.feeding import put_back
from rowfleet.ledger.transitions.sql import in_parts, to_pending_or_cancelled
from rowfleet.ledger.transitions.tallies import add_to, tally_cancelled, write_tallies


def claim(
    connection: Connection,
    keys: Sequence[Key],
    *,
    holder: str,
    worker: str,
    lease: float,
    take_over: bool = True,
) -> dict[Key, Claimed]:
    """Give ``holder`` (a process) those of the rows it may run, for ``lease`` seconds.

    A row may be run if it waits, if its holder's lease has run out and ``take_over``, or if
    ``holder`` has it already (a claim whose commit was never confirmed). A row whose holders
    vanished MAX_LOSSES times fails here instead, with that as its reason. What the batch's budget
    does not pay for goes back to pending, and so does a row of a batch that does not run any more,
    if its holder's lease has run out: no other worker will hear of it.
    """
    terms = {"holder": holder, "node": worker, "lease": lease, "take_over": take_over}
    rows = list(connection.execute(_claiming(), {"keys": list(keys), **terms, "paid": [""]}))
    # Most rows are claimed by then. The others' batches may have a budget.
    got = {(row.batch_id, row.number) for row in rows}
    left = [key for key in keys if key not in got]
    if left and take_over:
        _lose(
            connection,
            holder,
            tuple_(Row.batch_id, Row.number).in_(left),
            Row.lease_until < now(),
            ~exists().where(Batch.id == Row.batch_id, Batch.status.in_(ACTIVE)),
        )
    if left and (paid := _affordable(connection, left, holder)):
        batches = {batch_id for batch_id, _ in paid}
        again = {"keys": paid, **terms, "paid": sorted(batches)}
        rows += connection.execute(_claiming(), again)
    claimed: dict[Key, Claimed] = {}
    failed: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.status == RowStatus.FAILED:
            add_to(failed, row.batch_id, failed=1)
        else:
            key = (row.batch_id, row.number)
            claimed[key] = Claimed(
                key, row.cells, row.identity, row.attempts, row.retries, row.losses
            )
    write_tallies(connection, holder, failed)
    return claimed


@cache
def _claiming() -> Any:
    """Return the statement of a claim: of batches without a budget, and of those that are `paid`.

    To put a statement together takes longer than to send it, so those of every row are kept.
    """
    holder = bindparam("holder", type_=String)
    taken_over = and_(Row.status == RowStatus.RUNNING, Row.claim != holder)
    poisoned = and_(taken_over, Row.losses + 1 >= MAX_LOSSES)
    paid = Batch.id.in_(bindparam("paid", expanding=True))
    run_out = and_(bindparam("take_over", type_=Boolean), Row.lease_until < now())
    return (
        update(Row)
        .where(
            tuple_(Row.batch_id, Row.number).in_(bindparam("keys", expanding=True)),
            or_(
                Row.status.in_(ROW_UNCLAIMED),
                and_(Row.status == RowStatus.RUNNING, or_(run_out, Row.claim == holder)),
            ),
            Row.batch_id.in_(
                select(Batch.id).where(
                    Batch.status.in_(ACTIVE), or_(Batch.max_cost.is_(None), paid)
                )
            ),
        )
        .values(
            status=case((poisoned, RowStatus.FAILED), else_=RowStatus.RUNNING),
            error=case((poisoned, _poison_reason()), else_=None),
            finished_at=case((poisoned, now()), else_=None),
            losses=Row.losses + case((taken_over, 1), else_=0),
            attempts=Row.attempts + case((poisoned, 0), else_=1),
            claim=holder,
            worker=case((poisoned, Row.worker), else_=bindparam("node", type_=Text)),
            started_at=now(),
            lease_until=in_seconds(bindparam("lease", type_=Float)),
            due_at=None,
        )
        .returning(
            Row.batch_id,
            Row.number,
            Row.status,
            Row.cells,
            Row.identity,
            Row.attempts,
            Row.retries,
            Row.losses,
        )
    )


def _affordable(connection: Connection, keys: Sequence[Key], holder: str) -> list[Key]:
    """Return those of ``keys`` whose batch has a budget that pays for them; put the others back.

    Holds the batches that have a budget until the end of the transaction, so that two processes
    can't both take the last row it pays for. Not so firmly that a tally of theirs had to wait.
    """
    with_budget = connection.execute(
        select(Batch.id)
        .where(Batch.id.in_({batch_id for batch_id, _ in keys}), Batch.max_cost.is_not(None))
        .order_by(Batch.id)
        .with_for_update(key_share=True)
    ).scalars()
    paid: list[Key] = []
    for batch_id in with_budget.all():
        running = budget.in_flight(connection, batch_id, RowStatus.RUNNING)
        money = budget.for_batch(connection, batch_id)
        assert money is not None
        room = max(0, money.admits() - running)
        of_batch = [key for key in keys if key[0] == batch_id]
        if len(of_batch) > room:
            unpaid = [number for _, number in of_batch[room:]]
            put_back(connection, batch_id, unpaid, by=holder)
        paid += of_batch[:room]
    return paid


def postpone(connection: Connection, key: Key, *, holder: str, delay: float) -> None:
    """Give back a row that ``holder`` has just claimed and not begun, for ``delay`` seconds."""
    batch_id, number = key
    moved = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number == number,
            Row.claim == holder,
            Row.status == RowStatus.RUNNING,
        )
        .values(
            **to_pending_or_cancelled(),
            attempts=Row.attempts - 1,
            lease_until=None,
            due_at=in_seconds(delay),
        )
        .returning(Row.batch_id, Row.status)
    ).all()
    tally_cancelled(connection, holder, moved)


def renew(connection: Connection, keys: Sequence[Key], *, holder: str, lease: float) -> None:
    """Extend the leases of rows that ``holder`` still runs, to ``lease`` seconds from now.

    A row that another transaction holds is left out, so that the others do not wait for it.
    """
    for part in in_parts(keys):
        mine = (
            select(Row.batch_id, Row.number)
            .where(
                tuple_(Row.batch_id, Row.number).in_(part),
                Row.claim == holder,
                Row.status == RowStatus.RUNNING,
            )
            .with_for_update(skip_locked=True, key_share=True)
            # A bare subquery PostgreSQL may run once per row, each time with other rows locked.
            .cte("mine")
        )
        connection.execute(
            update(Row)
            .where(
                tuple_(Row.batch_id, Row.number).in_(select(mine.c.batch_id, mine.c.number)),
                Row.claim == holder,
                Row.status == RowStatus.RUNNING,
            )
            .values(lease_until=in_seconds(lease))
        )


def expire(connection: Connection, batch_id: str, *, grace: float, by: str) -> int:
    """Move running rows whose lease ran out over ``grace`` seconds ago back to pending.

    Their worker is gone. Within the grace their own message, delivered again, restarts them. A
    row that has lost MAX_LOSSES workers fails instead. Return how many were moved.
    """
    return _lose(connection, by, Row.batch_id == batch_id, Row.lease_until < in_seconds(-grace))


def give_up(connection: Connection, *, worker: str, by: str) -> int:
    """Move the rows that the dead ``worker`` (a Celery node name) ran back to pending.

    Only for a caller that knows the process to be gone, and so need not wait for its leases.
    """
    return _lose(connection, by, Row.worker == worker)


def _lose(connection: Connection, by: str, *which: Any) -> int:
    poisoned = Row.losses + 1 >= MAX_LOSSES
    back = to_pending_or_cancelled()
    moved = connection.execute(
        update(Row)
        .where(Row.status == RowStatus.RUNNING, *which)
        .values(
            status=case((poisoned, RowStatus.FAILED), else_=back["status"]),
            error=case((poisoned, _poison_reason()), else_=Row.error),
            finished_at=case((poisoned, now()), else_=back["finished_at"]),
            losses=Row.losses + 1,
            lease_until=None,
            due_at=None,
        )
        .returning(Row.batch_id, Row.status)
    ).all()
    ended: dict[str, dict[str, float]] = {}
    for row in moved:
        if row.status != RowStatus.PENDING:
            add_to(ended, row.batch_id, **{row.status: 1})
    write_tallies(connection, by, ended)
    return len(moved)


def _poison_reason() -> Any:
    return literal(f"its worker vanished {MAX_LOSSES} times while it ran this row", Text)
