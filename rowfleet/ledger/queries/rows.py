"""Questions about single rows, and about sets of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, literal, select

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Batch, RemoteBatch, Row
from rowfleet.ledger.queries.batch_records import get_batch
from rowfleet.ledger.queries.reviews import CHUNK, decisions_on, newest_between
from rowfleet.ledger.records import (
    BatchRecord,
    FailedRow,
    RecordedRow,
    RowState,
    SampledRow,
    sheet_row,
)
from rowfleet.ledger.statuses import REMOTE_ENDED, ROW_IN_FLIGHT, RemoteStatus, RowStatus

#: Rows with the latest retries that `why_retried` reads.
_RETRIES_READ = 200


def recorded_cells(
    connection: Connection, batch_id: str, after: int, limit: int
) -> list[tuple[int, Sequence[Any]]]:
    """Return number and encoded cells of up to ``limit`` rows behind row ``after``, in order."""
    rows = connection.execute(
        select(Row.number, Row.cells)
        .where(Row.batch_id == batch_id, Row.number > after)
        .order_by(Row.number)
        .limit(limit)
    )
    return [(row.number, row.cells) for row in rows]


def failed_among(connection: Connection, batch_id: str, numbers: Sequence[int]) -> set[int]:
    """Return those of the rows that have failed."""
    rows = connection.execute(
        select(Row.number).where(
            Row.batch_id == batch_id, Row.number.in_(numbers), Row.status == RowStatus.FAILED
        )
    )
    return set(rows.scalars())


def last_recorded(connection: Connection, batch_id: str) -> int | None:
    """Return the highest row number recorded so far, None before the first."""
    return connection.execute(
        select(func.max(Row.number)).where(Row.batch_id == batch_id)
    ).scalar_one()


def numbers_of(connection: Connection, batch_id: str) -> Sequence[int]:
    """Return the numbers of all rows that are recorded, in order."""
    rows = select(Row.number).where(Row.batch_id == batch_id).order_by(Row.number)
    return connection.execute(rows).scalars().all()


def queued_before(
    connection: Connection, batch_ids: Collection[str], seconds: float
) -> dict[str, list[int]]:
    """Return the rows of the batches that have been queued for more than ``seconds``."""
    found: dict[str, list[int]] = {}
    if batch_ids:
        rows = connection.execute(
            select(Row.batch_id, Row.number).where(
                Row.batch_id.in_(batch_ids),
                Row.status == RowStatus.QUEUED,
                Row.queued_at < in_seconds(-seconds),
            )
        )
        for batch_id, number in rows:
            found.setdefault(batch_id, []).append(number)
    return found


def expired_rows(connection: Connection, batch_ids: Collection[str], grace: float) -> set[str]:
    """Return those of the batches that have rows whose lease ran out ``grace`` seconds ago."""
    if not batch_ids:
        return set()
    rows = connection.execute(
        select(Row.batch_id)
        .where(
            Row.batch_id.in_(batch_ids),
            Row.status == RowStatus.RUNNING,
            Row.lease_until < in_seconds(-grace),
        )
        .distinct()
    )
    return set(rows.scalars())


def count_live(connection: Connection, batch_ids: Collection[str]) -> int:
    """Return how many rows of the batches are queued or run."""
    if not batch_ids:
        return 0
    return connection.execute(
        select(func.count()).where(Row.batch_id.in_(batch_ids), Row.status.in_(ROW_IN_FLIGHT))
    ).scalar_one()


def live_counts(connection: Connection, batch_id: str) -> tuple[int, int]:
    """Return how many rows are queued, and how many running."""
    rows = connection.execute(
        select(Row.status, func.count())
        .where(Row.batch_id == batch_id, Row.status.in_(ROW_IN_FLIGHT))
        .group_by(Row.status)
    )
    counts = {row[0]: int(row[1]) for row in rows}
    return counts.get(RowStatus.QUEUED, 0), counts.get(RowStatus.RUNNING, 0)


def with_the_api(connection: Connection, batch_id: str) -> int:
    """Return how many rows of the batch the Batch API has: those of its parts, as recorded.

    Rows are counted only in a part that is being settled. Those of a file that is still written
    are not with the API yet.
    """
    status = func.coalesce(RemoteBatch.remote_status, "")
    left = select(RemoteBatch).where(
        RemoteBatch.batch_id == batch_id,
        RemoteBatch.finished_at.is_(None),
        status != RemoteStatus.SETTLED,
    )
    is_ended = status.in_(REMOTE_ENDED)
    whole = connection.execute(
        left.where(~is_ended).with_only_columns(func.coalesce(func.sum(RemoteBatch.row_count), 0))
    ).scalar_one()
    ending = connection.execute(
        left.where(is_ended).with_only_columns(
            RemoteBatch.token, RemoteBatch.first_row, RemoteBatch.last_row
        )
    ).all()
    settling = 0
    for token, first, last in ending:
        settling += connection.execute(
            select(func.count()).where(
                Row.batch_id == batch_id,
                Row.number.between(first, last),
                Row.status == RowStatus.RUNNING,
                Row.claim == token,
            )
        ).scalar_one()
    return int(whole) + settling


def earlier_duplicates(
    connection: Connection, batch_id: str, identity: str, number: int, limit: int = 5
) -> list[int]:
    """Return up to ``limit`` rows before ``number`` whose identity columns hold the same."""
    rows = connection.execute(
        select(Row.number)
        .where(Row.batch_id == batch_id, Row.identity == identity, Row.number < number)
        .order_by(Row.number)
        .limit(limit)
    )
    return list(rows.scalars())


def row_state(connection: Connection, batch_id: str, number: int) -> RowState | None:
    """Return how the row stands, None if there is no such row."""
    row = connection.execute(
        select(Row.status, Batch.status, Batch.first_row)
        .join(Batch, Batch.id == Row.batch_id)
        .where(Row.batch_id == batch_id, Row.number == number)
    ).first()
    return None if row is None else RowState(row[0], row[1], sheet_row(number, row[2]))


def failed_rows(connection: Connection, batch_id: str, limit: int | None = None) -> list[FailedRow]:
    """Return the batch's failed rows in order. Raises InputError if there is no such batch."""
    batch = get_batch(connection, batch_id)
    rows = connection.execute(
        select(Row.number, Row.attempts, Row.error)
        .where(Row.batch_id == batch_id, Row.status == RowStatus.FAILED)
        .order_by(Row.number)
        .limit(limit)
    )
    return [
        FailedRow(batch.sheet_row(number), attempts, error or "")
        for number, attempts, error in rows
    ]


def why_retried(connection: Connection, batch_id: str) -> str | None:
    """Return the commonest reason of the latest retries that wait, None where none do.

    Reads the index of rows that are put off, and at most _RETRIES_READ of its rows. Errors count as
    the same that begin the same up to the words of the API; of those the latest is returned.
    """
    latest = connection.execute(
        select(Row.error)
        .where(Row.batch_id == batch_id, Row.status == RowStatus.PENDING, Row.due_at.is_not(None))
        .order_by(Row.due_at.desc())
        .limit(_RETRIES_READ)
    ).scalars()
    errors = [error for error in latest if error]  # a row that only waits its turn has none
    kinds = Counter(error.partition(": ")[0] for error in errors)
    if not kinds:
        return None
    kind = kinds.most_common(1)[0][0]
    return next(error for error in errors if error.partition(": ")[0] == kind)


def rows_numbered(
    connection: Connection, batch: BatchRecord, numbers: Sequence[int]
) -> list[SampledRow]:
    """Return those rows of the batch in order, with what their calls cost."""
    rows = connection.execute(
        select(
            Row.number,
            Row.status,
            Row.output,
            Row.error,
            Row.cost_usd,
            Row.calls,
            Row.review,
            Row.review_reasons,
        )
        .where(Row.batch_id == batch.id, Row.number.in_(numbers))
        .order_by(Row.number)
    )
    return [
        SampledRow(
            batch.sheet_row(number), status, output, error, cost if calls else 0.0, review, reasons
        )
        for number, status, output, error, cost, calls, review, reasons in rows
    ]


def waiting_to_be_asked(connection: Connection, batch_id: str) -> int:
    """Return how many pending rows will be asked about, those that follow others left out."""
    return connection.execute(
        select(func.count()).where(
            Row.batch_id == batch_id, Row.status == RowStatus.PENDING, Row.same_as.is_(None)
        )
    ).scalar_one()


def only_followers_are_left(connection: Connection, batch_id: str) -> bool:
    """Tell whether every row has ended but some that get the answer of another."""
    pending = and_(Row.batch_id == batch_id, Row.status == RowStatus.PENDING)
    row = connection.execute(
        select(
            exists().where(pending, Row.same_as.is_not(None)),
            exists().where(pending, Row.same_as.is_(None)),
            exists().where(Row.batch_id == batch_id, Row.status.in_(ROW_IN_FLIGHT)),
        )
    ).one()
    return tuple(row) == (True, False, False)


def rows_by_number(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> dict[int, RecordedRow]:
    """Return those of the rows that are there, by their numbers, each with its newest decision."""
    found: dict[int, RecordedRow] = {}
    for start in range(0, len(numbers), CHUNK):
        part = numbers[start : start + CHUNK]
        decisions = decisions_on(connection, batch_id, part)
        for row in connection.execute(
            _recorded(Row.cells).where(Row.batch_id == batch_id, Row.number.in_(part))
        ):
            newest = decisions[row.number][-1] if row.number in decisions else None
            found[row.number] = RecordedRow(**row._mapping, decision=newest)
    return found


def _recorded(cells: Any) -> Select[Any]:
    return select(
        Row.number,
        cells.label("cells"),
        Row.status,
        Row.output,
        Row.error,
        Row.same_as,
        Row.review,
        Row.review_reasons,
    )


def recorded_rows(
    connection: Connection, batch_id: str, chunk: int = 2_000, *, with_cells: bool = True
) -> Iterator[RecordedRow]:
    """Yield all rows of the batch in order, read ``chunk`` at a time; ``with_cells`` or blank.

    Each has what a person decided last.
    """
    after = -1
    cells = Row.cells if with_cells else literal(None)
    while True:
        rows = connection.execute(
            _recorded(cells)
            .where(Row.batch_id == batch_id, Row.number > after)
            .order_by(Row.number)
            .limit(chunk)
        ).all()
        if rows:
            newest = newest_between(connection, batch_id, rows[0].number, rows[-1].number)
        for row in rows:
            yield RecordedRow(**row._mapping, decision=newest.get(row.number))
        if len(rows) < chunk:
            return
        after = rows[-1].number
