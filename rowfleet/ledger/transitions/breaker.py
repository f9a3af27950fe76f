"""A batch stops when too many of its last rows fail or need review.

That many do where the prompt or the endpoint is broken, and each further row costs money. The
tallies are asked, in the transaction that adds to them: so all processes count together, and the
batch stops once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from rowfleet.ledger.clock import minute
from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.ledger.statuses import ACTIVE, RowReview, RowStatus
from rowfleet.ledger.transitions.stopping import stop

#: The last rows that are counted, at least: fewer say too little of the rest. Tallies are of a
#: minute, so all rows of the earliest minute count that holds one of them.
LAST_ROWS = 50

#: Minutes that are looked back for them.
_MINUTES = 240

#: Rows of each kind whose reasons are read, and reasons that are named.
_ROWS_READ, _MOST_NAMED = 500, 3


def trip(connection: Connection, sums: Mapping[str, Mapping[str, float]]) -> None:
    """Stop those of the batches, to whose tallies ``sums`` were added, that fail too often."""
    for batch_id in sorted(sums):
        if sums[batch_id].get(RowStatus.FAILED, 0) or sums[batch_id].get("needs_review", 0):
            _trip(connection, batch_id)


def _trip(connection: Connection, batch_id: str) -> None:
    batch = connection.execute(
        select(Batch.max_failures, Batch.failures_from).where(
            Batch.id == batch_id, Batch.max_failures.is_not(None), Batch.status.in_(ACTIVE)
        )
    ).one_or_none()
    if batch is None:
        return
    ended, bad = _last(connection, batch_id, batch.failures_from)
    if ended < LAST_ROWS or bad <= batch.max_failures * ended:
        return
    reasons = "; ".join(_reasons(connection, batch_id))
    stop(
        connection,
        batch_id,
        f"{bad:,} of the last {ended:,} rows failed or need review, more than "
        f"{batch.max_failures:.0%}: {reasons}",
    )


def _last(connection: Connection, batch_id: str, since: int | None) -> tuple[int, int]:
    """Return how many of the batch's last rows there are, and how many are bad.

    Rows of the minute ``since``, in which a person let the batch go on, and before do not count.
    """
    recent = [Tally.batch_id == batch_id, Tally.minute >= minute() - _MINUTES]
    if since is not None:
        recent.append(Tally.minute > since)
    minutes = connection.execute(
        select(
            func.sum(Tally.done + Tally.failed),
            func.sum(Tally.failed + Tally.needs_review),
        )
        .where(*recent)
        .group_by(Tally.minute)
        .order_by(Tally.minute.desc())
    )
    ended = bad = 0
    for in_minute, bad_in_minute in minutes:
        ended += int(in_minute)
        bad += int(bad_in_minute)
        if ended >= LAST_ROWS:
            break
    return ended, bad


def _reasons(connection: Connection, batch_id: str) -> Iterable[str]:
    """Yield the commonest reasons, in the words of this program and the recipe's names."""
    errors = connection.execute(
        select(Row.error)
        .where(Row.batch_id == batch_id, Row.status == RowStatus.FAILED)
        .order_by(Row.number.desc())
        .limit(_ROWS_READ)
    ).scalars()
    kinds = Counter((error or "").partition(": ")[0] for error in errors)
    marked = connection.execute(
        select(Row.review_reasons)
        .where(Row.batch_id == batch_id, Row.review == RowReview.NEEDS_REVIEW)
        .order_by(Row.number.desc())
        .limit(_ROWS_READ)
    ).scalars()
    kinds += Counter(
        f"needs review for {name}"
        for reasons in marked
        for name in {each["name"] for each in reasons or ()}
    )
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    for kind, count in ordered[:_MOST_NAMED]:
        yield f"{count:,} × {kind}"
