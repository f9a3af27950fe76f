"""The record of remote batches: parts of a batch, each a file of rows with the Batch API.

    open ──upload──▶ uploaded ──ask──▶ asked for ──created──▶ runs at the API ──▶ settled ──▶ ended
      │                ▲  │                                        │                 ▲
      │                │  └──────────────── released ──────────────│─────────────────┤
      └────────────────│───────────────────────────────────────────│─────────────────┘
                       └──────────── no room at the API ───────────┘

A settled part has no rows any more, but files at the API, which are deleted next.

One process at a time follows a batch (`hold`). What the API is asked to make is written down
before it is asked, and what it made after: a part that was asked for and has no remote id may be
there, and is looked for by its token before it is asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, literal, or_, select, update
from sqlalchemy import delete as sql_delete

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, RemoteBatch, Row
from rowfleet.ledger.queries.fleet import may_be_fed
from rowfleet.ledger.queries.parts import not_settled
from rowfleet.ledger.records import Claimed
from rowfleet.ledger.statuses import RemoteStatus, RowStatus
from rowfleet.ledger.transitions.feeding import due_rows
from rowfleet.ledger.transitions.sql import in_parts, to_pending_or_cancelled
from rowfleet.ledger.transitions.tallies import tally_cancelled


def hold(connection: Connection, batch_id: str, *, follower: str, lease: float) -> bool:
    """Let the process ``follower`` follow the batch for ``lease`` seconds from now.

    Return False if another follows it. The same process says so again before that is over.
    """
    held = connection.execute(
        update(Batch)
        .where(
            Batch.id == batch_id,
            or_(
                Batch.follower.is_(None),
                Batch.follower == follower,
                Batch.followed_until < now(),
            ),
        )
        .values(follower=follower, followed_until=in_seconds(lease))
    )
    return held.rowcount == 1


def let_go(connection: Connection, batch_id: str, *, follower: str) -> None:
    """Let another process follow the batch at once."""
    connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.follower == follower)
        .values(follower=None, followed_until=None)
    )


def open_part(connection: Connection, batch_id: str, *, token: str, follower: str) -> bool:
    """Record a new part, still without rows. Return False if ``follower`` follows no longer."""
    # The update holds the batch: two processes can't take the same number.
    if not connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.follower == follower)
        .values(follower=follower)
    ).rowcount:
        return False
    last = connection.execute(
        select(func.max(RemoteBatch.part)).where(RemoteBatch.batch_id == batch_id)
    ).scalar_one()
    connection.execute(
        insert(RemoteBatch).values(
            batch_id=batch_id, part=(last or 0) + 1, token=token, created_at=now()
        )
    )
    return True


def release(connection: Connection, batch_id: str, token: str) -> None:
    """Let the rows of a part wait again that the API was never asked for, or has refused."""
    released = connection.execute(
        update(RemoteBatch)
        .where(RemoteBatch.token == token, RemoteBatch.remote_id.is_(None), not_settled())
        .values(remote_status=RemoteStatus.SETTLED)
    )
    if released.rowcount:
        give_back(connection, batch_id, claim=token)


def take(
    connection: Connection, batch_id: str, limit: int, *, token: str, worker: str
) -> list[tuple[int, Sequence[Any]]]:
    """Move up to ``limit`` due rows into the part, as `take_rows`; none if released."""
    # Holds the part, so that it can't be released between this and the rows.
    held = connection.execute(
        update(RemoteBatch).where(RemoteBatch.token == token, not_settled()).values(token=token)
    )
    if not held.rowcount:
        return []
    return take_rows(connection, batch_id, limit, claim=token, worker=worker)


def uploaded(
    connection: Connection, token: str, *, file_id: str, rows: int, first: int, last: int
) -> bool:
    """Record that the part's file is with the API: its id, how many rows it has and which.

    Return False if the part was released meanwhile.
    """
    recorded = connection.execute(
        update(RemoteBatch)
        .where(RemoteBatch.token == token, not_settled())
        .values(input_file_id=file_id, row_count=rows, first_row=first, last_row=last)
    )
    return recorded.rowcount == 1


def ask(connection: Connection, token: str, *, follower: str, again_after: float) -> bool:
    """Record that the API is about to be asked to make the part. Return whether it may be.

    It may by the batch's follower, unless it was asked less than ``again_after`` seconds ago and
    has not been seen to make it: that request may still arrive.
    """
    asked = connection.execute(
        update(RemoteBatch)
        .where(
            RemoteBatch.token == token,
            RemoteBatch.remote_id.is_(None),
            or_(RemoteBatch.asked_at.is_(None), RemoteBatch.asked_at < in_seconds(-again_after)),
            exists().where(and_(Batch.id == RemoteBatch.batch_id, Batch.follower == follower)),
        )
        .values(asked_at=now())
    )
    return asked.rowcount == 1


def refused(connection: Connection, token: str) -> None:
    """Record that the API has not made what it was asked for."""
    _set(connection, token, asked_at=None)


def created(connection: Connection, token: str, *, remote_id: str, status: str) -> None:
    """Record what the API made."""
    _set(connection, token, remote_id=remote_id, remote_status=status)


def seen(connection: Connection, token: str, status: str) -> None:
    """Record what the API says of the part."""
    _set(connection, token, remote_status=status)


def no_room(connection: Connection, token: str) -> None:
    """Record that the API has made and refused the part, and takes its file another time."""
    _set(connection, token, remote_id=None, remote_status=RemoteStatus.NO_ROOM, asked_at=None)


def settled(connection: Connection, token: str) -> None:
    """Record that none of the part's rows is left."""
    _set(connection, token, remote_status=RemoteStatus.SETTLED)


def reopen(connection: Connection, batch_id: str) -> None:
    """Take up parts that an older version ended, which left their files with the API.

    It recorded no part as settled, so one that has ended and is not is such a part.
    """
    connection.execute(
        update(RemoteBatch)
        .where(
            RemoteBatch.batch_id == batch_id,
            RemoteBatch.finished_at.is_not(None),
            RemoteBatch.remote_id.is_not(None),
            RemoteBatch.remote_status != RemoteStatus.SETTLED,
        )
        .values(remote_status=RemoteStatus.SETTLED, finished_at=None)
    )


def end(connection: Connection, token: str) -> None:
    """Record that none of the part's files is left; forget it if the API never ran it."""
    never = connection.execute(
        sql_delete(RemoteBatch).where(RemoteBatch.token == token, RemoteBatch.remote_id.is_(None))
    )
    if not never.rowcount:
        _set(connection, token, finished_at=now())


def _set(connection: Connection, token: str, **values: object) -> None:
    connection.execute(update(RemoteBatch).where(RemoteBatch.token == token).values(**values))


def take_rows(
    connection: Connection, batch_id: str, limit: int, *, claim: str, worker: str
) -> list[tuple[int, Sequence[Any]]]:
    """Move up to ``limit`` due rows, lowest ranks and numbers first, to running at ``worker``.

    Without a lease: no worker can take them over, only who knows ``claim`` settles them or gives
    them back. Return their numbers and encoded cells, in the order of the numbers.
    """
    due = due_rows(batch_id, limit)
    taken = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(select(due.c.number)),
            Row.status == RowStatus.PENDING,
            exists().where(Batch.id == batch_id, may_be_fed()),
        )
        .values(
            status=RowStatus.RUNNING,
            attempts=Row.attempts + 1,
            claim=claim,
            worker=worker,
            started_at=now(),
            lease_until=None,
            due_at=None,
        )
        .returning(Row.number, Row.cells)
    )
    return sorted((row.number, row.cells) for row in taken)


def held(
    connection: Connection,
    batch_id: str,
    numbers: Sequence[int],
    *,
    claim: str,
    with_cells: bool = False,
) -> dict[int, tuple[Claimed, str | None]]:
    """Return those of the rows that ``claim`` runs, each with what its last attempt ended with."""
    cells = Row.cells if with_cells else literal(None)
    found: dict[int, tuple[Claimed, str | None]] = {}
    for part in in_parts(numbers):
        for row in connection.execute(
            select(Row.number, Row.attempts, Row.retries, Row.error, cells.label("cells")).where(
                Row.batch_id == batch_id,
                Row.number.in_(part),
                Row.status == RowStatus.RUNNING,
                Row.claim == claim,
            )
        ):
            claimed = Claimed(
                (batch_id, row.number), row.cells or (), None, row.attempts, row.retries
            )
            found[row.number] = (claimed, row.error)
    return found


def held_numbers(connection: Connection, batch_id: str, limit: int, *, claim: str) -> list[int]:
    """Return the numbers of up to ``limit`` rows that ``claim`` runs, in order."""
    rows = connection.execute(
        select(Row.number)
        .where(Row.batch_id == batch_id, Row.status == RowStatus.RUNNING, Row.claim == claim)
        .order_by(Row.number)
        .limit(limit)
    )
    return list(rows.scalars())


def give_back(
    connection: Connection, batch_id: str, numbers: Sequence[int] | None = None, *, claim: str
) -> int:
    """Move rows that ``claim`` holds and no file has taken up (all, or those numbered) to pending.

    The attempt does not count. In a cancelled batch they end as cancelled. Return how many.
    """
    which = [Row.batch_id == batch_id, Row.status == RowStatus.RUNNING, Row.claim == claim]
    if numbers is not None:
        which.append(Row.number.in_(numbers))
    # Holds the batch, so that it can't be cancelled while its rows move.
    connection.execute(update(Batch).where(Batch.id == batch_id).values(total=Batch.total))
    moved = connection.execute(
        update(Row)
        .where(*which)
        .values(**to_pending_or_cancelled(), attempts=Row.attempts - 1, claim=None)
        .returning(Row.batch_id, Row.status)
    ).all()
    tally_cancelled(connection, claim, moved)
    return len(moved)
