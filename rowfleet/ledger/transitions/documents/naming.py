"""Rows name documents: when they are recorded, and when a person retries them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rowfleet.documents.unread import Unread
from rowfleet.ledger.clock import now
from rowfleet.ledger.document_records import Named
from rowfleet.ledger.models import Batch, Document, Row, RowDocument
from rowfleet.ledger.statuses import DOCUMENT_ENDED, DocumentState, RowStatus
from rowfleet.ledger.transitions.sql import in_parts

#: Reasons that may be gone when the next batch names the document.
PASSING = (Unread.MISSING, Unread.UNREACHABLE, Unread.LOST_WORKERS, Unread.TOO_MUCH_TIME)


def name(connection: Connection, batch_id: str, named: Named, *, again: bool) -> None:
    """Record the documents that new rows name. ``again``: some of it may be recorded already.

    A document that is there, from whatever batch, stays as it is; the rows that wait for one which
    has ended are told once more. One that failed before this batch was made, for a reason that may
    be gone, is read again, and so is one whose file was another by the time it was read: by now the
    named one may be there.
    """
    ids = sorted(named.documents)
    if not ids:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        dialect.insert(Document).on_conflict_do_nothing(index_elements=["id"]),
        [_values(named, document_id) for document_id in ids],
    )
    first = {
        document_id
        for number, documents in named.rows.items()
        if named.sample is None or number in named.sample
        for document_id, _ in documents
    }
    began = select(Batch.created_at).where(Batch.id == batch_id).scalar_subquery()
    for part in in_parts(ids):
        _hold(connection, part)
        connection.execute(
            update(Document)
            .where(
                Document.id.in_(part),
                or_(
                    and_(Document.state == DocumentState.FAILED, Document.reason.in_(PASSING)),
                    and_(
                        Document.state == DocumentState.READY,
                        Document.read_version != func.coalesce(Document.version, ""),
                    ),
                ),
                Document.finished_at <= began,
            )
            .values(**_ANEW)
        )
        connection.execute(
            update(Document)
            .where(Document.id.in_(part), Document.state.in_(DOCUMENT_ENDED))
            .values(is_released=False, finished_at=func.coalesce(Document.finished_at, now()))
        )
        connection.execute(
            update(Document)
            .where(
                Document.id.in_([each for each in part if each in first]),
                Document.state == DocumentState.PENDING,
                Document.wanted_on.is_(None),
            )
            .values(wanted_on=named.queue, wanted_at=now())
        )
    new = [
        {
            "batch_id": batch_id,
            "number": number,
            "position": position,
            "document_id": document_id,
            "column": column,
        }
        for number, documents in named.rows.items()
        for position, (document_id, column) in enumerate(documents)
    ]
    if again:
        connection.execute(dialect.insert(RowDocument).on_conflict_do_nothing(), new)
    else:
        connection.execute(insert(RowDocument), new)


#: A document that is to be read as if it never had been.
_ANEW = {
    "state": DocumentState.PENDING,
    "reason": None,
    "error": None,
    "retries": 0,
    "losses": 0,
    "due_at": None,
    "finished_at": None,
    "is_released": True,
    "wanted_on": None,
}


def _values(named: Named, document_id: str) -> dict[str, object]:
    new = named.documents[document_id]
    is_never_read = new.reason is not None
    return {
        "id": document_id,
        "root": new.root,
        "path": new.path,
        "version": new.version,
        "reading": new.reading,
        "state": DocumentState.FAILED if is_never_read else DocumentState.PENDING,
        "reason": new.reason,
        "error": new.error,
        "is_released": not is_never_read,
    }


def _hold(connection: Connection, ids: Sequence[str]) -> None:
    """Let no other transaction change the documents until this one ends; in one order for all."""
    connection.execute(
        select(Document.id)
        .where(Document.id.in_(ids))
        .order_by(Document.id)
        .with_for_update(key_share=True)
    )


def retry(connection: Connection, batch_id: str, numbers: Collection[int]) -> int:
    """Let the failed documents of rows that are pending again be read again, and the rows wait.

    Return how many documents that are.
    """
    count = 0
    for part in in_parts(sorted(numbers)):
        named = select(RowDocument.document_id).where(
            RowDocument.batch_id == batch_id, RowDocument.number.in_(part)
        )
        failed = connection.execute(
            select(Document.id)
            .where(Document.id.in_(named), Document.state == DocumentState.FAILED)
            .order_by(Document.id)
            .with_for_update(key_share=True)
        ).scalars()
        ids = list(failed)
        if not ids:
            continue
        queue = select(Batch.queue).where(Batch.id == batch_id).scalar_subquery()
        connection.execute(
            update(Document)
            .where(Document.id.in_(ids), Document.state == DocumentState.FAILED)
            .values({**_ANEW, "wanted_on": queue, "wanted_at": now()})
        )
        waits = exists().where(
            RowDocument.batch_id == batch_id,
            RowDocument.number == Row.number,
            RowDocument.document_id.in_(ids),
        )
        connection.execute(
            update(Row)
            .where(
                Row.batch_id == batch_id,
                Row.number.in_(part),
                Row.status == RowStatus.PENDING,
                Row.same_as.is_(None),
                waits,
            )
            .values(status=RowStatus.WAITING)
        )
        count += len(ids)
    return count
