"""Documents go to the queue of the batches that need them, and come back from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select, update

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, Document, Row, RowDocument
from rowfleet.ledger.statuses import ACTIVE, DocumentState, RowStatus
from rowfleet.ledger.transitions.sql import in_parts

#: Seconds after which a document that is queued elsewhere counts as forgotten there: the fleet of
#: that queue may be gone.
FORGOTTEN = 60.0


def is_needed() -> ColumnElement[bool]:
    """Return the condition that rows of a batch that runs wait for a document."""
    # From the few batches that run, each of which looks into an index.
    return exists().where(
        Batch.status.in_(ACTIVE),
        exists().where(RowDocument.document_id == Document.id, RowDocument.batch_id == Batch.id),
    )


def want(
    connection: Connection,
    batch_id: str,
    queue: str,
    *,
    sample: Sequence[int] | None = None,
    limit: int,
) -> int:
    """Let up to ``limit`` documents that rows of the batch wait for be read by way of ``queue``.

    Those are documents that are on no queue, or on one that has forgotten them. Of a batch with a
    ``sample`` only its rows count. Return how many.
    """
    waits = exists().where(
        RowDocument.document_id == Document.id,
        RowDocument.batch_id == batch_id,
        Row.batch_id == batch_id,
        Row.number == RowDocument.number,
        Row.status == RowStatus.WAITING,
        *([] if sample is None else [Row.number.in_(sample)]),
    )
    elsewhere = or_(Document.wanted_on.is_(None), Document.wanted_on != queue)
    is_left = or_(
        Document.state == DocumentState.PENDING,
        and_(
            Document.state == DocumentState.QUEUED,
            Document.queued_at < in_seconds(-FORGOTTEN),
        ),
    )
    left = (
        select(Document.id)
        .where(is_left, elsewhere, waits)
        .order_by(Document.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("forsaken")
    )
    wanted = connection.execute(
        update(Document)
        .where(Document.id.in_(select(left.c.id)), is_left)
        .values(state=DocumentState.PENDING, queued_at=None, wanted_on=queue, wanted_at=now())
        .returning(Document.id)
    )
    return len(wanted.all())  # SQLite counts no rows behind a WITH


def feed(connection: Connection, queue: str, limit: int) -> list[str]:
    """Move up to ``limit`` due documents of ``queue`` from pending to queued. Return their ids.

    In the order in which they were first wanted. A document that no batch which runs needs is taken
    off the list: `want` brings it back. The caller sends their messages after the commit: a crash
    in between leaves queued documents without a message, which `put_back` finds.
    """
    due = (
        select(Document.id)
        .where(
            Document.state == DocumentState.PENDING,
            Document.wanted_on == queue,
            or_(Document.due_at.is_(None), Document.due_at <= now()),
        )
        .order_by(Document.wanted_at, Document.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("due_documents")
    )
    mine = and_(
        Document.id.in_(select(due.c.id)),
        Document.state == DocumentState.PENDING,
        Document.wanted_on == queue,
    )
    fed = connection.execute(
        update(Document)
        .where(mine, is_needed())
        .values(state=DocumentState.QUEUED, queued_at=now(), due_at=None)
        .returning(Document.wanted_at, Document.id)
    ).all()
    if len(fed) < limit:
        _forget(connection, queue, limit)
    return [document_id for _, document_id in sorted(fed)]


def _forget(connection: Connection, queue: str, limit: int) -> None:
    """Take documents off the list of ``queue`` that no batch which runs needs."""
    idle: Any = (
        select(Document.id)
        .where(Document.state == DocumentState.PENDING, Document.wanted_on == queue, ~is_needed())
        .order_by(Document.wanted_at, Document.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("idle")
    )
    connection.execute(
        update(Document)
        .where(Document.id.in_(select(idle.c.id)), Document.state == DocumentState.PENDING)
        .values(wanted_on=None)
    )


def put_back(connection: Connection, ids: Iterable[str]) -> int:
    """Move queued documents whose message is gone back to pending. Return how many."""
    count = 0
    for part in in_parts(sorted(ids)):
        count += connection.execute(
            update(Document)
            .where(Document.id.in_(part), Document.state == DocumentState.QUEUED)
            .values(state=DocumentState.PENDING, queued_at=None)
        ).rowcount
    return count
