"""Rows with their answers and what these took, read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from rowfleet.ledger.models.row_tables import Row


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row, what became of it, and what its calls took."""

    number: int
    cells: Sequence[Any]
    status: str
    output: Mapping[str, Any] | None
    #: Dollars of all its calls; None: not known. A row without calls of its own costs 0.
    cost_usd: float | None
    #: Seconds from claim to end of the last attempt.
    latency: float | None
    #: The earlier row whose answer this is.
    same_as: int | None


def answered_rows(
    connection: Connection, batch_id: str, chunk: int = 1_000
) -> Iterator[AnsweredRow]:
    """Yield all rows of the batch in order, read ``chunk`` at a time."""
    after = -1
    while True:
        rows = connection.execute(
            select(
                Row.number,
                Row.cells,
                Row.status,
                Row.output,
                Row.cost_usd,
                Row.calls,
                Row.latency,
                Row.same_as,
            )
            .where(Row.batch_id == batch_id, Row.number > after)
            .order_by(Row.number)
            .limit(chunk)
        ).all()
        for number, cells, status, output, cost, calls, latency, same_as in rows:
            paid = cost if calls else 0.0
            yield AnsweredRow(number, cells, status, output, paid, latency, same_as)
        if len(rows) < chunk:
            return
        after = rows[-1].number
