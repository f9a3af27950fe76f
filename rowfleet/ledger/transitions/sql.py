"""Pieces of SQL that several transitions use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, case, exists, select, update

from rowfleet.ledger.clock import now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.statuses import BatchStatus, RowStatus
from rowfleet.masking import outside

#: Characters of a row's or a batch's reason, at most.
MOST_REASON = 1_000

#: Rows that a person's command, and what finishes it, moves in one transaction: some tens of
#: milliseconds.
ROWS_AT_ONCE = 2_000

#: Keys in one IN list: PostgreSQL takes 65,535 parameters, and a row takes two.
_KEYS_AT_ONCE = 5_000


def to_pending_or_cancelled() -> dict[str, Any]:
    """Return where a row goes that has not ended: back to pending, or to its batch's end."""
    cancelled = is_cancelled()
    return {
        "status": case((cancelled, RowStatus.CANCELLED), else_=RowStatus.PENDING),
        "finished_at": case((cancelled, now()), else_=None),
    }


def is_cancelled() -> Any:
    """Return the condition that a row's batch is cancelled."""
    return exists().where(Batch.id == Row.batch_id, Batch.status == BatchStatus.CANCELLED)


def hold_batch(connection: Connection, batch_id: str) -> str | None:
    """Return the batch's status, and let no other transaction change it until this one ends.

    Later reads of this transaction see all that was committed under an earlier hold. Uses a weaker
    lock, so that tallies of the batch are not blocked.
    """
    status: str | None = connection.execute(
        select(Batch.status).where(Batch.id == batch_id).with_for_update(key_share=True)
    ).scalar()
    return status


def change_status(
    connection: Connection,
    batch_id: str,
    before: Sequence[str],
    after: str,
    *conditions: Any,
    **values: Any,
) -> bool:
    """Move a batch to status ``after`` from one of ``before``. Return whether it moved."""
    changed = connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.status.in_(before), *conditions)
        .values(status=after, **values)
    )
    return changed.rowcount == 1


def reason_text(value: str | None) -> str | None:
    """Return a reason as the ledger keeps it: masked, bounded, and without control characters.

    PostgreSQL's text can't hold NUL.
    """
    return None if value is None else outside(value, MOST_REASON)


def in_parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Yield the items in slices that fit into one statement's parameters."""
    for start in range(0, len(items), _KEYS_AT_ONCE):
        yield items[start : start + _KEYS_AT_ONCE]
