"""Rows go to the queue and come back from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import CTE, Connection, exists, or_, select, update

from rowfleet.ledger.clock import now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import budget
from rowfleet.ledger.queries.fleet import may_be_fed
from rowfleet.ledger.statuses import ROW_IN_FLIGHT, RowStatus, Tier
from rowfleet.ledger.transitions.sql import in_parts, to_pending_or_cancelled
from rowfleet.ledger.transitions.tallies import tally_cancelled


def feed(connection: Connection, batch_id: str, limit: int) -> list[int]:
    """Move up to ``limit`` due rows, lowest ranks and numbers first, from pending to queued.

    Of a batch with a sample only that is fed, and never more than the batch's budget admits.
    Return their numbers in that order. The caller sends their messages after the commit: a crash in
    between leaves queued rows without a message, which `put_back` finds.
    """
    terms = connection.execute(
        select(Batch.max_cost, Batch.sample).where(Batch.id == batch_id)
    ).first()
    max_cost, sample = (None, None) if terms is None else (terms.max_cost, terms.sample)
    if max_cost is not None:
        live = budget.in_flight(connection, batch_id, *ROW_IN_FLIGHT)
        money = budget.for_batch(connection, batch_id)
        limit = min(limit, money.admits() - live) if money is not None else limit
        if limit <= 0:
            return []
    due = due_rows(batch_id, limit, sample)
    fed = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(select(due.c.number)),
            Row.status == RowStatus.PENDING,
            exists().where(Batch.id == batch_id, may_be_fed(), Batch.tier == Tier.WORKERS),
        )
        .values(status=RowStatus.QUEUED, queued_at=now(), due_at=None)
        .returning(Row.rank, Row.number)
    )
    # Rows of one batch all have a rank, or none has.
    return [number for _, number in sorted((row.rank or 0, row.number) for row in fed)]


def due_rows(batch_id: str, limit: int, sample: Sequence[int] | None = None) -> CTE:
    """Lock the batch's first pending rows that are due, at most ``limit``; skip locked rows."""
    return (
        select(Row.number)
        .where(
            Row.batch_id == batch_id,
            Row.status == RowStatus.PENDING,
            Row.same_as.is_(None),
            or_(Row.due_at.is_(None), Row.due_at <= now()),
            *([] if sample is None else [Row.number.in_(sample)]),
        )
        .order_by(Row.rank, Row.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # A bare subquery PostgreSQL may run once per row, each time with other rows locked.
        .cte("due")
    )


def put_back(connection: Connection, batch_id: str, numbers: Iterable[int], *, by: str) -> int:
    """Move queued rows whose message is gone back to pending. Return how many."""
    count = 0
    for part in in_parts(sorted(numbers)):
        moved = connection.execute(
            update(Row)
            .where(Row.batch_id == batch_id, Row.number.in_(part), Row.status == RowStatus.QUEUED)
            .values(**to_pending_or_cancelled(), queued_at=None)
            .returning(Row.batch_id, Row.status)
        ).all()
        tally_cancelled(connection, by, moved)
        count += len(moved)
    return count
