"""Questions about documents: of a row, of a queue, of a batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, select

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.document_records import DocumentCounts, RowsDocument
from rowfleet.ledger.models import Batch, Document, DocumentText, Row, RowDocument
from rowfleet.ledger.statuses import (
    ACTIVE,
    DOCUMENT_ENDED,
    DOCUMENT_UNCLAIMED,
    DocumentState,
    RowStatus,
)


def of_row(connection: Connection, batch_id: str, number: int) -> list[RowsDocument]:
    """Return the documents that a row names, in its order."""
    rows = connection.execute(
        select(
            Document.id,
            Document.root,
            Document.path,
            RowDocument.column,
            Document.state,
            Document.reason,
            Document.error,
            Document.text_id,
            Document.pages,
        )
        .join(RowDocument, RowDocument.document_id == Document.id)
        .where(RowDocument.batch_id == batch_id, RowDocument.number == number)
        .order_by(RowDocument.position)
    )
    return [RowsDocument(*row) for row in rows]


def places_of(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> dict[int, list[tuple[str, str]]]:
    """Return root and path of the documents of those rows that name any, in the rows' order."""
    found: dict[int, list[tuple[str, str]]] = {}
    rows = connection.execute(
        select(RowDocument.number, Document.root, Document.path)
        .join(Document, RowDocument.document_id == Document.id)
        .where(RowDocument.batch_id == batch_id, RowDocument.number.in_(numbers))
        .order_by(RowDocument.number, RowDocument.position)
    )
    for number, root, path in rows:
        found.setdefault(number, []).append((root, path))
    return found


def most_of_a_row(connection: Connection, batch_id: str) -> int:
    """Return how many documents a row of the batch names at most."""
    last = select(func.max(RowDocument.position)).where(RowDocument.batch_id == batch_id)
    found: int | None = connection.execute(last).scalar()
    return 0 if found is None else found + 1


def text_of(connection: Connection, text_id: str) -> bytes | None:
    """Return what was read of a document, encoded; None if it is not there."""
    return connection.execute(select(DocumentText.text).where(DocumentText.id == text_id)).scalar()


def attached_to(connection: Connection, text_id: str) -> bytes | None:
    """Return a document's pages as pictures, or its file; None if neither was kept."""
    return connection.execute(
        select(DocumentText.attached).where(DocumentText.id == text_id)
    ).scalar()


def queued_before(connection: Connection, queue: str, seconds: float) -> list[str]:
    """Return the documents that have been on ``queue`` for more than ``seconds``."""
    rows = connection.execute(
        select(Document.id).where(
            Document.state == DocumentState.QUEUED,
            Document.wanted_on == queue,
            Document.queued_at < in_seconds(-seconds),
        )
    )
    return list(rows.scalars())


def count_queued(connection: Connection, queue: str) -> int:
    """Return how many documents are on ``queue``."""
    return connection.execute(
        select(func.count()).where(
            Document.state == DocumentState.QUEUED, Document.wanted_on == queue
        )
    ).scalar_one()


def anything_to_do(connection: Connection, queue: str) -> bool:
    """Tell whether a feeder of ``queue`` has documents to look after: one statement, from indexes.

    In a ledger without documents it has none, and does nothing more about them.
    """
    return bool(
        connection.execute(
            select(
                exists().where(~Document.is_released)
                | exists().where(Document.state == DocumentState.RUNNING)
                | exists().where(
                    Document.state == DocumentState.PENDING, Document.wanted_on == queue
                )
                | exists().where(
                    Document.state == DocumentState.QUEUED, Document.wanted_on == queue
                )
                | exists().where(Batch.queue == queue, Batch.status.in_(ACTIVE), _waits_here())
            )
        ).scalar()
    )


def _waits_here() -> ColumnElement[bool]:
    return exists().where(Row.batch_id == Batch.id, Row.status == RowStatus.WAITING)


def waiting_batches(connection: Connection, queue: str) -> list[tuple[str, list[int] | None]]:
    """Return the batches that run on ``queue`` and have rows that wait, each with its sample."""
    rows = connection.execute(
        select(Batch.id, Batch.sample)
        .where(Batch.queue == queue, Batch.status.in_(ACTIVE), _waits_here())
        .order_by(Batch.created_at, Batch.id)
    )
    return [(row.id, None if row.sample is None else list(row.sample)) for row in rows]


def is_any_on_its_way(connection: Connection, queue: str) -> bool:
    """Tell whether a document that is wanted on ``queue`` waits there or is being read."""
    found = select(literal(1)).where(
        Document.wanted_on == queue,
        Document.state.in_((*DOCUMENT_UNCLAIMED, DocumentState.RUNNING)),
    )
    return connection.execute(found.limit(1)).first() is not None


def seconds_to_next(connection: Connection, queue: str, grace: float) -> float | None:
    """Return the seconds until documents of ``queue`` next need a feeder; None: never.

    That is now for one that is to be fed or whose rows wait to be told, when a retry falls due, and
    ``grace`` seconds after a lease ran out or a document was queued. Below 0: the feeder is late.
    """
    clock = connection.execute(select(now())).scalar_one()
    on_queue = Document.wanted_on == queue
    pending = and_(Document.state == DocumentState.PENDING, on_queue)
    found = connection.execute(
        select(
            select(func.min(func.coalesce(Document.due_at, Document.wanted_at)))
            .where(pending)
            .scalar_subquery()
            .label("due"),
            select(func.min(Document.lease_until))
            .where(Document.state == DocumentState.RUNNING, on_queue)
            .scalar_subquery()
            .label("lease"),
            select(func.min(Document.queued_at))
            .where(Document.state == DocumentState.QUEUED, on_queue)
            .scalar_subquery()
            .label("queued"),
            exists()
            .where(~Document.is_released, Document.state.in_(DOCUMENT_ENDED))
            .label("is_unreleased"),
        )
    ).one()
    later = timedelta(seconds=grace)
    moments: list[datetime] = [] if found.due is None else [found.due]
    moments += [moment + later for moment in (found.lease, found.queued) if moment is not None]
    if found.is_unreleased:
        moments.append(clock)
    return (min(moments) - clock).total_seconds() if moments else None


def counts_of(connection: Connection, batch_id: str) -> DocumentCounts:
    """Return how many documents of the batch stand where. Reads all that its rows name."""
    mine = select(RowDocument.document_id).where(RowDocument.batch_id == batch_id).distinct()
    rows = connection.execute(
        select(Document.state, Document.reason, func.count())
        .where(Document.id.in_(mine))
        .group_by(Document.state, Document.reason)
    )
    unread = ready = failed = 0
    reasons: dict[str, int] = {}
    for state, reason, count in rows:
        if state == DocumentState.READY:
            ready += count
        elif state == DocumentState.FAILED:
            failed += count
            reasons[reason or ""] = reasons.get(reason or "", 0) + count
        else:
            unread += count
    return DocumentCounts(unread, ready, failed, reasons)


def extractors_with_documents(connection: Connection, prefix: str) -> list[str]:
    """Return the node names of extractors that read documents and whose name begins so."""
    names = connection.execute(
        select(Document.worker)
        .where(
            Document.state == DocumentState.RUNNING,
            Document.worker.startswith(prefix, autoescape=True),
        )
        .distinct()
    ).scalars()
    return [name for name in names if name is not None]


def known(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the documents whose text is in the ledger."""
    rows = connection.execute(
        select(Document.id).where(Document.id.in_(ids), Document.state == DocumentState.READY)
    )
    return set(rows.scalars())
