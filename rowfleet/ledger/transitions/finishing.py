"""Batches reach an end of their own: finished, sampled, or without budget."""

from __future__ import annotations

from sqlalchemy import (
    Connection,
    and_,
    exists,
    literal,
    or_,
    select,
)

from rowfleet.ledger.clock import now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import budget
from rowfleet.ledger.statuses import FINISHABLE, ROW_IN_FLIGHT, ROW_OPEN, BatchStatus, RowStatus
from rowfleet.ledger.transitions.sql import change_status, hold_batch
from rowfleet.ledger.transitions.stopping import sweep


def finish_batch(connection: Connection, batch_id: str) -> bool:
    """Mark a running batch finished if all its rows have ended. Return whether it did.

    One whose budget is spent, too: its last rows may have run then.
    """
    pending = and_(Row.batch_id == batch_id, Row.status == RowStatus.PENDING)
    unfinished = or_(
        # Apart, since each has an index of its own.
        exists().where(pending, Row.same_as.is_(None)),
        exists().where(pending, Row.same_as.is_not(None)),
        exists().where(Row.batch_id == batch_id, Row.status.in_(ROW_IN_FLIGHT)),
        exists().where(Row.batch_id == batch_id, Row.status == RowStatus.WAITING),
    )
    over = select(literal(1)).where(Batch.id == batch_id, Batch.status.in_(FINISHABLE), ~unfinished)
    # Before it is held, since it mostly is not over.
    if (
        connection.execute(over).first() is None
        or hold_batch(connection, batch_id) not in FINISHABLE
    ):
        return False
    return change_status(
        connection,
        batch_id,
        FINISHABLE,
        BatchStatus.FINISHED,
        ~unfinished,
        finished_at=now(),
        reason=None,
    )


def finish_sample(connection: Connection, batch_id: str) -> bool:
    """Mark a running batch sampled if it has a sample and that has ended. Return whether it did."""
    sampled = select(Batch.sample).where(Batch.id == batch_id, Batch.status == BatchStatus.RUNNING)
    if connection.execute(sampled).scalar() is None:
        return False
    hold_batch(connection, batch_id)
    sample = connection.execute(sampled).scalar()  # a person may have ended it meanwhile
    if sample is None:
        return False
    unfinished = exists().where(
        Row.batch_id == batch_id,
        Row.number.in_(sample),
        Row.status.in_(ROW_OPEN),
    )
    return change_status(
        connection, batch_id, (BatchStatus.RUNNING,), BatchStatus.SAMPLED, ~unfinished
    )


def exhaust(connection: Connection, batch_id: str, *, by: str) -> bool:
    """Mark a running batch `budget_exhausted` if its budget pays for no further row.

    While rows run whose cost is set aside, it may still turn out to. At most ROWS_AT_ONCE rows
    leave the queue here, `sweep` takes the others. Return whether it did.
    """
    if (
        _reason_to_exhaust(connection, batch_id) is None
        or hold_batch(connection, batch_id) != BatchStatus.RUNNING
    ):
        return False
    reason = _reason_to_exhaust(connection, batch_id)  # a person may have raised it meanwhile
    if reason is None:
        return False
    change_status(
        connection, batch_id, (BatchStatus.RUNNING,), BatchStatus.BUDGET_EXHAUSTED, reason=reason
    )
    sweep(connection, batch_id, by=by)
    return True


def _reason_to_exhaust(connection: Connection, batch_id: str) -> str | None:
    running = budget.in_flight(connection, batch_id, RowStatus.RUNNING)
    money = budget.for_batch(connection, batch_id)
    if money is None or money.admits() or (running and not money.is_spent):
        return None
    return money.reason()
