"""Rows that are sent the same as an earlier one get its end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, case, select, update
from sqlalchemy.orm import aliased

from rowfleet.ledger.clock import now
from rowfleet.ledger.models import Row
from rowfleet.ledger.statuses import ROW_ENDED, RowReview, RowStatus
from rowfleet.ledger.transitions.tallies import add_to, ended_as, write_tallies

#: Rows that get another's answer in one transaction: some tenths of a second, so that leases are
#: renewed in time whatever a sheet repeats.
MOST_FOLLOWERS = 5_000


def settle_followers(connection: Connection, batch_id: str, *, by: str) -> int:
    """Give rows that follow an earlier one its end, if that has one. Return how many.

    Most have got it when that row was settled; this is for the rest, at most MOST_FOLLOWERS of it.
    """
    sums: dict[str, dict[str, float]] = {}
    count = settle_followers_of(connection, batch_id, sums)
    write_tallies(connection, by, sums)
    return count


def settle_followers_of(
    connection: Connection, batch_id: str, sums: dict[str, dict[str, float]], *which: Any
) -> int:
    """Give rows that follow an earlier one its end; ``which`` says more of them. Return how many.

    ``sums`` gets what the tallies are to be added.
    """
    leader = aliased(Row)
    ends = (
        select(
            Row.number,
            leader.status,
            leader.output,
            leader.error,
            # Decisions are on one row: that of the leader does not decide about this one.
            case(
                (leader.review == RowReview.REVIEWED, RowReview.NEEDS_REVIEW),
                else_=leader.review,
            ).label("review"),
            leader.review_reasons,
        )
        .join(leader, and_(leader.batch_id == Row.batch_id, leader.number == Row.same_as))
        .where(
            Row.batch_id == batch_id,
            Row.status == RowStatus.PENDING,
            Row.same_as.is_not(None),
            leader.status.in_(ROW_ENDED),
            *which,
        )
        .limit(MOST_FOLLOWERS)
        .cte("ends")
    )
    moved = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id, Row.number == ends.c.number, Row.status == RowStatus.PENDING
        )
        .values(
            status=ends.c.status,
            output=ends.c.output,
            error=ends.c.error,
            review=ends.c.review,
            review_reasons=ends.c.review_reasons,
            finished_at=now(),
        )
        .returning(Row.status, Row.review)
    )
    count = 0
    for row in moved:
        add_to(sums, batch_id, **ended_as(row))
        count += 1
    return count
