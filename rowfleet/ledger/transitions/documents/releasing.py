"""Rows become due once the documents that they name have ended."""

from __future__ import annotations

from sqlalchemy import Connection, and_, exists, select, tuple_, update
from sqlalchemy.orm import aliased

from rowfleet.ledger.models import Document, Row, RowDocument
from rowfleet.ledger.statuses import DOCUMENT_ENDED, RowStatus
from rowfleet.ledger.transitions.sql import in_parts, to_pending_or_cancelled
from rowfleet.ledger.transitions.tallies import tally_cancelled

#: Documents whose rows are told in one transaction.
DOCUMENTS_AT_ONCE = 100


def release(connection: Connection, *, by: str, limit: int) -> tuple[int, bool]:
    """Let up to ``limit`` rows be fed that wait for documents which have all ended.

    Each document is asked about once after its end, by one caller at a time. If two documents of a
    row end together, the later one of the two is asked about when both have ended. A document is
    locked before its rows, and `naming.name` locks it after it has recorded new ones, so that no
    row is missed between the two. Return how many rows, and whether another call may move more.
    """
    ended = select(Document.id).where(~Document.is_released, Document.state.in_(DOCUMENT_ENDED))
    ids = list(
        connection.execute(
            ended.order_by(Document.finished_at)
            .limit(DOCUMENTS_AT_ONCE)
            .with_for_update(skip_locked=True, key_share=True)
        ).scalars()
    )
    if not ids:
        return 0, False
    other, also = aliased(RowDocument), aliased(Document)
    open_still = exists().where(
        other.batch_id == Row.batch_id,
        other.number == Row.number,
        also.id == other.document_id,
        also.state.not_in(DOCUMENT_ENDED),
    )
    # From the documents: each has few rows that wait, and a batch may have a hundred thousand.
    due = connection.execute(
        select(Row.batch_id, Row.number)
        .join(
            RowDocument,
            and_(RowDocument.batch_id == Row.batch_id, RowDocument.number == Row.number),
        )
        .where(RowDocument.document_id.in_(ids), Row.status == RowStatus.WAITING, ~open_still)
        .order_by(Row.batch_id, Row.number)
        .limit(limit)
        .with_for_update(key_share=True, of=Row)
    ).all()
    moved = 0
    for part in in_parts(sorted({tuple(key) for key in due})):
        released = connection.execute(
            update(Row)
            .where(tuple_(Row.batch_id, Row.number).in_(part), Row.status == RowStatus.WAITING)
            .values(**to_pending_or_cancelled())
            .returning(Row.batch_id, Row.status)
        ).all()
        tally_cancelled(connection, by, released)
        moved += len(released)
    if len(due) < limit:
        connection.execute(
            update(Document)
            .where(Document.id.in_(ids), Document.state.in_(DOCUMENT_ENDED))
            .values(is_released=True)
        )
    return moved, len(due) == limit or len(ids) == DOCUMENTS_AT_ONCE
