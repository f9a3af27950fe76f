"""Batches are stopped, cancelled, resumed, retried and swept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select, update

from rowfleet.ledger.clock import minute, now
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.statuses import ACTIVE, CANCELLABLE, HELD, REVIVED, BatchStatus, RowStatus
from rowfleet.ledger.transitions.documents import naming
from rowfleet.ledger.transitions.sql import ROWS_AT_ONCE, change_status, hold_batch, reason_text
from rowfleet.ledger.transitions.tallies import write_tallies


def stop(connection: Connection, batch_id: str, reason: str) -> bool:
    """Stop a batch because none of its rows can succeed. Return False if it does not run."""
    return change_status(
        connection, batch_id, ACTIVE, BatchStatus.STOPPED, reason=reason_text(reason)
    )


def cancel(connection: Connection, batch_id: str, *, by: str, limit: int = ROWS_AT_ONCE) -> bool:
    """Cancel a batch: rows not yet started end cancelled, running ones finish.

    Workers drop queued rows from the moment this commits. At most ``limit`` rows end here,
    `sweep` ends the others. Return False if the batch had ended.
    """
    if not change_status(
        connection,
        batch_id,
        CANCELLABLE,
        BatchStatus.CANCELLED,
        finished_at=now(),
        reason=None,
    ):
        return False
    sweep(connection, batch_id, by=by, limit=limit)
    return True


def sweep(connection: Connection, batch_id: str, *, by: str, limit: int = ROWS_AT_ONCE) -> int:
    """Bring up to ``limit`` rows that wait in a batch that does not run where they belong.

    In a cancelled batch they end as cancelled. In one that waits for a person, those that are
    queued are pending again: workers drop their messages. Rows of a batch that runs stay. Return
    how many moved; the next call moves further ones. Rows that another transaction holds are left
    to a later one.
    """
    status = connection.execute(select(Batch.status).where(Batch.id == batch_id)).scalar()
    pending = Row.status == RowStatus.PENDING
    if status == BatchStatus.CANCELLED:
        # Each has an index of its own.
        kinds = [
            (Row.status == RowStatus.QUEUED, Row.number),
            (and_(pending, Row.same_as.is_(None)), Row.number),
            (and_(pending, Row.same_as.is_not(None)), Row.same_as),
            (Row.status == RowStatus.WAITING, Row.number),
        ]
    elif status in HELD:
        kinds = [(Row.status == RowStatus.QUEUED, Row.number)]
    else:
        return 0
    count = 0
    for kind, order in kinds:
        if count >= limit:
            break
        waiting = connection.execute(
            select(Row.number)
            .where(Row.batch_id == batch_id, kind)
            .order_by(order)
            .limit(limit - count)
            .with_for_update(skip_locked=True)
        )
        # As a list: before PostgreSQL has counted the rows of a new batch, it takes them for few,
        # and compares each with each row of a subquery.
        numbers = waiting.scalars().all()
        if not numbers:
            continue
        count += connection.execute(
            update(Row)
            .where(
                Row.batch_id == batch_id,
                Row.number.in_(numbers),
                kind,
                # A batch that goes on by now keeps its rows.
                exists().where(Batch.id == batch_id, Batch.status == status),
            )
            .values(
                {"status": RowStatus.CANCELLED, "finished_at": now(), "due_at": None}
                if status == BatchStatus.CANCELLED
                else {"status": RowStatus.PENDING, "queued_at": None}
            )
        ).rowcount
    if status == BatchStatus.CANCELLED and count:
        write_tallies(connection, by, {batch_id: {RowStatus.CANCELLED: count}})
    return count


def reopen(connection: Connection, batch_id: str) -> bool:
    """Let a stopped batch go on, as one whose rows may not all be recorded yet.

    How its rows ended up to now does not stop it again.

    Return False if it was not stopped. Rows that a worker gave back are pending; those it dropped
    from the queue are found queued without a message.
    """
    return change_status(
        connection,
        batch_id,
        (BatchStatus.STOPPED,),
        BatchStatus.LOADING,
        reason=None,
        failures_from=minute(),
    )


def set_max_failures(connection: Connection, batch_id: str, share: float) -> None:
    """Let this share of the batch's last rows, from 0 to 1, fail or need review."""
    connection.execute(update(Batch).where(Batch.id == batch_id).values(max_failures=share))


def end_sample(connection: Connection, batch_id: str) -> None:
    """Let the rows run that are not in the batch's sample, too, if it has one."""
    connection.execute(update(Batch).where(Batch.id == batch_id).values(sample=None))
    change_status(connection, batch_id, (BatchStatus.SAMPLED,), BatchStatus.RUNNING)


def set_budget(connection: Connection, batch_id: str, max_cost: float | None) -> None:
    """Let the batch's calls cost ``max_cost`` dollars from its beginning on; None: any amount.

    One whose budget was spent goes on, until that turns out to be so again.
    """
    connection.execute(update(Batch).where(Batch.id == batch_id).values(max_cost=max_cost))
    change_status(
        connection, batch_id, (BatchStatus.BUDGET_EXHAUSTED,), BatchStatus.RUNNING, reason=None
    )


def move_queue(
    connection: Connection,
    batch_id: str,
    queue: str,
    *,
    urgent: bool | None = None,
    before: str | None = None,
) -> None:
    """Let the batch be fed to another queue, or to the other list of it, from now on.

    ``urgent``: None leaves it as it is. ``before``: nothing moves if the batch has another queue.
    """
    changed = update(Batch).where(Batch.id == batch_id)
    if before is not None:
        changed = changed.where(Batch.queue == before)
    values: dict[str, Any] = {"queue": queue}
    if urgent is not None:
        values["urgent"] = urgent
    connection.execute(changed.values(values))


def retry_failed(
    connection: Connection,
    batch_id: str,
    numbers: Sequence[int] | None,
    *,
    by: str,
    after: int | None = None,
    limit: int = ROWS_AT_ONCE,
) -> list[int]:
    """Move failed rows (all, or those numbered) back to pending, with all their tries again.

    The batch runs again. At most ``limit`` rows move, in order; go on ``after`` the last of them
    until fewer do. Return the numbers of the rows moved: rows that are answered together are tried
    again together. Those whose documents have failed wait until these are read again. A batch that
    was cancelled since the first call stays so, and keeps the rest.
    """
    # Holds the batch, so that it can't be finished or cancelled while its rows move.
    status = hold_batch(connection, batch_id)
    if status is None or (status == BatchStatus.CANCELLED and after is not None):
        return []
    which = [Row.batch_id == batch_id, Row.status == RowStatus.FAILED]
    if after is not None:
        which.append(Row.number > after)
    if numbers is not None:
        asked = select(func.coalesce(Row.same_as, Row.number)).where(
            Row.batch_id == batch_id, Row.number.in_(numbers)
        )
        which.append(func.coalesce(Row.same_as, Row.number).in_(asked))
    # In this order no row goes before the one it follows, whose end it would get again at once.
    failed = connection.execute(select(Row.number).where(*which).order_by(Row.number).limit(limit))
    moved = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(failed.scalars().all()),
            Row.status == RowStatus.FAILED,
        )
        .values(
            status=RowStatus.PENDING, retries=0, losses=0, due_at=None, finished_at=None, error=None
        )
        .returning(Row.number)
    )
    again = sorted(moved.scalars())
    if again:
        change_status(
            connection,
            batch_id,
            REVIVED,
            BatchStatus.RUNNING,
            reason=None,
            finished_at=None,
        )
        write_tallies(connection, by, {batch_id: {RowStatus.FAILED: -len(again)}})
        naming.retry(connection, batch_id, again)
    return again
