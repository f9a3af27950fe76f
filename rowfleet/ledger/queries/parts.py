"""Questions about a batch's parts at the Batch API."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import RemoteBatch, Row
from rowfleet.ledger.part_records import Part
from rowfleet.ledger.statuses import RemoteStatus, RowStatus

_PART = [getattr(RemoteBatch, name) for name in Part.__slots__]


def parts_of(connection: Connection, batch_id: str) -> list[Part]:
    """Return the batch's parts that have not ended, in order."""
    rows = connection.execute(
        select(*_PART)
        .where(RemoteBatch.batch_id == batch_id, RemoteBatch.finished_at.is_(None))
        .order_by(RemoteBatch.part)
    )
    return [Part(*row) for row in rows]


def get_part(connection: Connection, token: str) -> Part:
    """Return the part with that token, which must be there."""
    return Part(*connection.execute(select(*_PART).where(RemoteBatch.token == token)).one())


def not_settled() -> ColumnElement[bool]:
    """Return the condition that a part's rows are not settled."""
    return or_(
        RemoteBatch.remote_status.is_(None), RemoteBatch.remote_status != RemoteStatus.SETTLED
    )


def asked_within(connection: Connection, token: str, seconds: float) -> bool:
    """Tell whether the API was asked for the part less than ``seconds`` ago."""
    return (
        connection.execute(
            select(RemoteBatch.part).where(
                RemoteBatch.token == token, RemoteBatch.asked_at >= in_seconds(-seconds)
            )
        ).first()
        is not None
    )


def waiting_for_room(connection: Connection, batch_id: str, enough: int = 1) -> tuple[int, bool]:
    """Return how many pending rows are due, counted up to ``enough``, and whether some are not yet.

    Where none are due later, one is enough to know. Looks into indexes, whatever the batch's size,
    and reads more of them only past rows that are due later.
    """
    pending = and_(Row.batch_id == batch_id, Row.status == RowStatus.PENDING)
    waits = and_(pending, Row.due_at.is_not(None))
    clock, last = connection.execute(
        select(now(), select(func.max(Row.due_at)).where(waits).scalar_subquery())
    ).one()
    is_later = last is not None and last > clock
    # Ordered as their indexes are: PostgreSQL would rather look for a few rows in the table itself.
    fresh = select(Row.number).where(pending, Row.same_as.is_(None), Row.due_at.is_(None))
    ripe = select(Row.number).where(waits, Row.due_at <= clock)
    due = 0
    for rows in (fresh.order_by(Row.rank, Row.number), ripe.order_by(Row.due_at)):
        most = (enough if is_later else 1) - due
        if most > 0:
            due += connection.execute(
                select(func.count()).select_from(rows.limit(most).subquery())
            ).scalar_one()
    return due, is_later
