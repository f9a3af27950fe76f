"""An extractor takes a document, holds it with a lease, and settles it or loses it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Text, and_, case, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rowfleet.documents.unread import SENTENCES, Unread
from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.document_records import ClaimedDocument, NewText, ReadOutcome
from rowfleet.ledger.models import Document, DocumentText
from rowfleet.ledger.records import MAX_LOSSES
from rowfleet.ledger.statuses import DOCUMENT_UNCLAIMED, DocumentState
from rowfleet.ledger.transitions.documents.wanting import is_needed
from rowfleet.ledger.transitions.sql import reason_text


def claim(
    connection: Connection,
    document_id: str,
    *,
    holder: str,
    worker: str,
    lease: float,
    take_over: bool = True,
) -> ClaimedDocument | None:
    """Give ``holder`` (an attempt of a process) the document, for ``lease`` seconds.

    It may be taken if it waits, if its holder's lease has run out and ``take_over``, or if
    ``holder`` has it already (a claim whose commit was never confirmed). One whose holders vanished
    MAX_LOSSES times fails here instead. One that no batch which runs needs any more goes back to
    pending. Return None if it is not the holder's.
    """
    lost = and_(Document.state == DocumentState.RUNNING, Document.claim != holder)
    run_out = and_(literal(take_over), Document.lease_until < now())
    may_be_taken = and_(
        Document.id == document_id,
        or_(
            Document.state.in_(DOCUMENT_UNCLAIMED),
            and_(Document.state == DocumentState.RUNNING, or_(run_out, Document.claim == holder)),
        ),
    )
    poisoned = and_(lost, Document.losses + 1 >= MAX_LOSSES)
    row = connection.execute(
        update(Document)
        .where(may_be_taken, is_needed())
        .values(
            state=case((poisoned, DocumentState.FAILED), else_=DocumentState.RUNNING),
            **_lost_for_good(poisoned),
            losses=Document.losses + case((lost, 1), else_=0),
            attempts=Document.attempts + case((poisoned, 0), else_=1),
            claim=holder,
            worker=case((poisoned, Document.worker), else_=worker),
            started_at=now(),
            lease_until=in_seconds(lease),
            due_at=None,
        )
        .returning(
            Document.id,
            Document.state,
            Document.root,
            Document.path,
            Document.reading,
            Document.attempts,
            Document.retries,
        )
    ).first()
    if row is None:
        connection.execute(
            update(Document)
            .where(may_be_taken, ~is_needed())
            .values(
                state=DocumentState.PENDING,
                wanted_on=None,
                queued_at=None,
                lease_until=None,
                losses=Document.losses + case((lost, 1), else_=0),
            )
        )
        return None
    if row.state == DocumentState.FAILED:
        return None
    return ClaimedDocument(row.id, row.root, row.path, row.reading, row.attempts, row.retries)


def renew(connection: Connection, document_id: str, *, holder: str, lease: float) -> bool:
    """Extend the lease of a document that ``holder`` still reads. Return whether it does."""
    renewed = connection.execute(
        update(Document)
        .where(
            Document.id == document_id,
            Document.claim == holder,
            Document.state == DocumentState.RUNNING,
        )
        .values(lease_until=in_seconds(lease))
    )
    return renewed.rowcount == 1


def has_text(connection: Connection, text_id: str) -> int | None:
    """Return the pages of a text that was read before, from whatever file; None without one."""
    return connection.execute(select(DocumentText.pages).where(DocumentText.id == text_id)).scalar()


def settle(
    connection: Connection, outcome: ReadOutcome, text: NewText | None = None, *, holder: str
) -> bool:
    """Write down how ``holder``'s attempt ended, with the ``text`` if it is new.

    Return whether that counted: it does while the document's last claim is this attempt's, and an
    end even if the document was meanwhile put back, but not taken by another.
    """
    if text is not None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(
            dialect.insert(DocumentText)
            .values(
                id=text.id,
                text=text.text,
                pages=text.pages,
                attached=text.attached,
                made_at=now(),
            )
            .on_conflict_do_nothing(index_elements=["id"])
        )
    goes_on = outcome.state == DocumentState.PENDING
    held = Document.state == DocumentState.RUNNING
    poisoned = and_(literal(outcome.is_loss), Document.losses + 1 >= MAX_LOSSES)
    values: dict[str, Any] = {
        "lease_until": None,
        "latency": outcome.latency,
        "losses": Document.losses + (1 if outcome.is_loss else 0),
    }
    if goes_on:
        values |= {
            "state": case((poisoned, DocumentState.FAILED), else_=DocumentState.PENDING),
            **_lost_for_good(poisoned, reason_text(outcome.error)),
            "retries": Document.retries + (1 if outcome.counts else 0),
            "due_at": in_seconds(outcome.delay) if outcome.delay else None,
        }
    else:
        values |= {
            "state": outcome.state,
            "reason": outcome.reason,
            "error": reason_text(outcome.error),
            "finished_at": now(),
            "is_released": False,
            "due_at": None,
            "text_id": outcome.text_id,
            "content_hash": outcome.content_hash,
            "size": outcome.size,
            "pages": outcome.pages,
            "read_version": outcome.read_version,
        }
    settled = connection.execute(
        update(Document)
        .where(
            Document.id == outcome.id,
            Document.claim == holder,
            Document.attempts == outcome.attempts,
            held if goes_on else or_(held, Document.state.in_(DOCUMENT_UNCLAIMED)),
        )
        .values(**values)
    )
    return settled.rowcount == 1


def settled_before(connection: Connection, outcome: ReadOutcome, *, holder: str) -> bool:
    """Tell whether `settle` has written ``outcome`` already: its commit was never confirmed."""
    found = select(literal(1)).where(
        Document.id == outcome.id,
        Document.claim == holder,
        Document.attempts == outcome.attempts,
        Document.state != DocumentState.RUNNING,
    )
    return connection.execute(found).first() is not None


def expire(connection: Connection, *, grace: float, limit: int) -> int:
    """Move documents whose lease ran out over ``grace`` seconds ago back to pending.

    Their extractor is gone. Within the grace their own message, delivered again, restarts them. One
    that has lost MAX_LOSSES extractors fails instead. Return how many were moved.
    """
    return _lose(connection, limit, Document.lease_until < in_seconds(-grace))


def give_up(connection: Connection, *, worker: str, limit: int = 1_000) -> int:
    """Move the documents that the dead ``worker`` (a Celery node name) read back to pending.

    Only for a caller that knows the process to be gone, and so need not wait for its leases.
    """
    return _lose(connection, limit, Document.worker == worker)


def _lose(connection: Connection, limit: int, *which: Any) -> int:
    held = Document.state == DocumentState.RUNNING
    gone = (
        select(Document.id)
        .where(held, *which)
        .order_by(Document.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("gone")
    )
    poisoned = Document.losses + 1 >= MAX_LOSSES
    moved = connection.execute(
        update(Document)
        .where(Document.id.in_(select(gone.c.id)), held, *which)
        .values(
            state=case((poisoned, DocumentState.FAILED), else_=DocumentState.PENDING),
            **_lost_for_good(poisoned),
            losses=Document.losses + 1,
            lease_until=None,
            due_at=None,
        )
        .returning(Document.id)
    )
    return len(moved.all())  # SQLite counts no rows behind a WITH


def _lost_for_good(poisoned: Any, otherwise: str | None = None) -> dict[str, Any]:
    """Return what else becomes of a document that fails if it is ``poisoned``, and goes on if not.

    ``otherwise`` is its error in that case.
    """
    sentence = literal(SENTENCES[Unread.LOST_WORKERS], Text)
    return {
        "reason": case((poisoned, Unread.LOST_WORKERS.value), else_=None),
        "error": case((poisoned, sentence), else_=literal(otherwise, Text)),
        "finished_at": case((poisoned, now()), else_=None),
        "is_released": case((poisoned, False), else_=True),
    }
