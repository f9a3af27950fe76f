"""The record of remote batches: parts of a batch, each a file of rows with the Batch API.

    open ──upload──▶ uploaded ──ask──▶ asked for ──created──▶ runs at the API ──▶ settled ──▶ ended
      │                ▲  │                                        │                 ▲
      │                │  └──────────────── released ──────────────│─────────────────┤
      └────────────────│───────────────────────────────────────────│─────────────────┘
                       └──────────── no room at the API ───────────┘

A settled part has no rows any more, but files at the API, which are deleted next.

One process at a time follows a batch (`follow`). What the API is asked to make is written down
before it is asked, and what it made after: a part that was asked for and has no remote id may be
there, and is looked for by its token before it is asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select, update
from sqlalchemy import delete as sql_delete

from rowfleet.ledger import transitions
from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, RemoteBatch, Row

#: Status of a part while only its files are left, and while its file waits for room.
SETTLED: Final = "settled"
NO_ROOM: Final = "no room"

#: The API's states in which a remote batch changes no more.
ENDED: Final = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Part:
    """A remote batch as it is recorded."""

    batch_id: str
    part: int
    token: str
    row_count: int
    input_file_id: str | None
    remote_id: str | None
    remote_status: str | None
    asked_at: datetime | None
    created_at: datetime

    @property
    def is_settled(self) -> bool:
        """Whether all its rows are settled or given back, and only its files are left."""
        return self.remote_status == SETTLED

    @property
    def is_at_api(self) -> bool:
        """Whether the API has a batch of it that is not settled."""
        return self.remote_id is not None and not self.is_settled

    @property
    def waits_for_room(self) -> bool:
        """Whether its file is with the API, which has refused a batch of it for now."""
        return self.remote_status == NO_ROOM


_PART = [getattr(RemoteBatch, name) for name in Part.__slots__]


def follow(connection: Connection, batch_id: str, *, follower: str, lease: float) -> bool:
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


def unfollow(connection: Connection, batch_id: str, *, follower: str) -> None:
    """Let another process follow the batch at once."""
    connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.follower == follower)
        .values(follower=None, followed_until=None)
    )


def parts(connection: Connection, batch_id: str) -> list[Part]:
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
        .where(RemoteBatch.token == token, RemoteBatch.remote_id.is_(None), _not_settled())
        .values(remote_status=SETTLED)
    )
    if released.rowcount:
        transitions.give_back(connection, batch_id, claim=token)


def _not_settled() -> ColumnElement[bool]:
    return or_(RemoteBatch.remote_status.is_(None), RemoteBatch.remote_status != SETTLED)


def take(
    connection: Connection, batch_id: str, limit: int, *, token: str, worker: str
) -> list[tuple[int, Sequence[Any]]]:
    """Move up to ``limit`` due rows into the part, as `transitions.take`; none if released."""
    # Holds the part, so that it can't be released between this and the rows.
    held = connection.execute(
        update(RemoteBatch).where(RemoteBatch.token == token, _not_settled()).values(token=token)
    )
    if not held.rowcount:
        return []
    return transitions.take(connection, batch_id, limit, claim=token, worker=worker)


def uploaded(
    connection: Connection, token: str, *, file_id: str, rows: int, first: int, last: int
) -> bool:
    """Record that the part's file is with the API: its id, how many rows it has and which.

    Return False if the part was released meanwhile.
    """
    recorded = connection.execute(
        update(RemoteBatch)
        .where(RemoteBatch.token == token, _not_settled())
        .values(input_file_id=file_id, row_count=rows, first_row=first, last_row=last)
    )
    return recorded.rowcount == 1


def ask(connection: Connection, token: str, *, follower: str, again_after: float) -> bool:
    """Record that the API is about to be asked to make the part. Return whether it may be.

    It may by the batch's follower, unless it was asked less than ``again_after`` seconds ago and
    has not been seen to make it: what was asked then may still arrive.
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
    _set(connection, token, remote_id=None, remote_status=NO_ROOM, asked_at=None)


def settled(connection: Connection, token: str) -> None:
    """Record that none of the part's rows is left."""
    _set(connection, token, remote_status=SETTLED)


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
            RemoteBatch.remote_status != SETTLED,
        )
        .values(remote_status=SETTLED, finished_at=None)
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


def waiting(connection: Connection, batch_id: str, enough: int = 1) -> tuple[int, bool]:
    """Return how many pending rows are due, counted up to ``enough``, and whether some are not yet.

    Where none are due later, one is enough to know. Looks into indexes, whatever the batch's size,
    and reads more of them only past rows that are due later.
    """
    pending = and_(Row.batch_id == batch_id, Row.status == "pending")
    waits = and_(pending, Row.due_at.is_not(None))
    clock, last = connection.execute(
        select(now(), select(func.max(Row.due_at)).where(waits).scalar_subquery())
    ).one()
    is_later = last is not None and last > clock
    # Ordered as their indexes are: PostgreSQL would rather look for a few rows in the table itself.
    fresh = select(Row.number).where(pending, Row.same_as.is_(None), Row.due_at.is_(None))
    ripe = select(Row.number).where(waits, Row.due_at <= clock)
    due = 0
    for rows in (fresh.order_by(Row.number), ripe.order_by(Row.due_at)):
        most = (enough if is_later else 1) - due
        if most > 0:
            due += connection.execute(
                select(func.count()).select_from(rows.limit(most).subquery())
            ).scalar_one()
    return due, is_later
