"""Questions about reviews: which rows wait, and what people decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select

from rowfleet.answers.reasons import decode
from rowfleet.ledger.models import Decision, Row
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.ledger.statuses import RowReview, RowStatus, Verdict

_RECORD = [getattr(Decision, name) for name in DecisionRecord.__slots__]

#: Rows that are read, or asked for, at a time.
CHUNK = 2_000


def is_reviewed(connection: Connection, batch_id: str) -> bool:
    """Tell whether a person has decided on a row of the batch."""
    found = exists().where(Decision.batch_id == batch_id)
    return connection.execute(select(found)).scalar_one()


def count_decided(connection: Connection, batch_id: str) -> int:
    """Return how many rows of the batch a person has decided on."""
    rows = select(func.count(Decision.number.distinct())).where(Decision.batch_id == batch_id)
    return connection.execute(rows).scalar_one()


def decisions_on(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> dict[int, list[DecisionRecord]]:
    """Return the decisions on those of the rows that have any, the oldest first."""
    found: dict[int, list[DecisionRecord]] = {}
    for start in range(0, len(numbers), CHUNK):
        part = numbers[start : start + CHUNK]
        rows = connection.execute(
            select(*_RECORD)
            .where(Decision.batch_id == batch_id, Decision.number.in_(part))
            .order_by(Decision.number, Decision.version)
        )
        for row in rows:
            found.setdefault(row.number, []).append(DecisionRecord(*row))
    return found


def newest_between(
    connection: Connection, batch_id: str, first: int, last: int
) -> dict[int, DecisionRecord]:
    """Return the newest decision on each row with a number from ``first`` to ``last``."""
    rows = connection.execute(
        select(*_RECORD)
        .where(Decision.batch_id == batch_id, Decision.number.between(first, last))
        .order_by(Decision.number, Decision.version)
    )
    return {row.number: DecisionRecord(*row) for row in rows}  # the last one of a row stays


def history(connection: Connection, batch_id: str) -> Iterator[DecisionRecord]:
    """Yield all decisions on rows of the batch, by row and then the oldest first."""
    after = -1
    while True:
        numbers = connection.execute(
            select(Decision.number)
            .where(Decision.batch_id == batch_id, Decision.number > after)
            .distinct()
            .order_by(Decision.number)
            .limit(CHUNK)
        ).scalars()
        part = numbers.all()
        if not part:
            return
        for decisions in decisions_on(connection, batch_id, part).values():
            yield from decisions
        after = part[-1]


def waiting_by_reason(connection: Connection, batch_id: str) -> tuple[int, Counter[str]]:
    """Return how many rows need review, and how many of them for a reason of each name."""
    count, names = 0, Counter[str]()
    for reasons in connection.execute(
        select(Row.review_reasons).where(*_waits(batch_id)).execution_options(yield_per=CHUNK)
    ).scalars():
        count += 1
        names.update({reason.name for reason in decode(reasons)})
    return count, names


def numbers_to_review(
    connection: Connection, batch_id: str, *, every: bool = False
) -> Sequence[int]:
    """Return the numbers of the rows that need review, or of ``every`` row that is done."""
    which: Any = _waits(batch_id)
    if every:
        which = (Row.batch_id == batch_id, Row.status == RowStatus.DONE)
    found = connection.execute(select(Row.number).where(*which).order_by(Row.number))
    return found.scalars().all()


def numbers_with_values(connection: Connection, batch_id: str) -> Sequence[int]:
    """Return the numbers of the rows that have values from a person, in order."""
    newest = (
        select(Decision.number, func.max(Decision.version).label("version"))
        .where(Decision.batch_id == batch_id)
        .group_by(Decision.number)
        .subquery()
    )
    found = (
        select(Decision.number)
        .join(
            newest,
            and_(Decision.number == newest.c.number, Decision.version == newest.c.version),
        )
        .where(Decision.batch_id == batch_id, Decision.verdict != Verdict.REJECT)
        .order_by(Decision.number)
    )
    return connection.execute(found).scalars().all()


def _waits(batch_id: str) -> tuple[Any, ...]:
    return Row.batch_id == batch_id, Row.review == RowReview.NEEDS_REVIEW
