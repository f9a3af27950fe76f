"""Moves of a whole batch, however large, as many short transactions.

One transaction would hold a million rows, and every worker that meets one of them, for half a
minute. A process that dies between two of these leaves nothing undone for good: the feeder ends a
cancel, and `retry` of all failed rows moves those that are left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rowfleet.ledger.engine import Engine, writing
from rowfleet.ledger.transitions import stopping
from rowfleet.ledger.transitions.sql import ROWS_AT_ONCE


def sweep(engine: Engine, batch_id: str, *, by: str, seconds: float | None = None) -> int:
    """Sweep a batch that does not run, for ``seconds`` or to the end. Return how many rows moved.

    Rows that another transaction holds at that moment are left to a later sweep.
    """
    began = time.monotonic()
    count = 0
    while True:
        with writing(engine) as connection:
            moved = stopping.sweep(connection, batch_id, by=by, limit=ROWS_AT_ONCE)
        count += moved
        if not moved or (seconds is not None and time.monotonic() - began > seconds):
            return count


def retry_failed(
    engine: Engine, batch_id: str, numbers: Sequence[int] | None, *, by: str
) -> list[int]:
    """Let failed rows (all, or those numbered) be tried again, as `stopping.retry_failed`.

    The rest of a cancel ends first: those rows must not run with the others.
    """
    sweep(engine, batch_id, by=by)
    again: list[int] = []
    after = None
    while True:
        with writing(engine) as connection:
            moved = stopping.retry_failed(
                connection, batch_id, numbers, by=by, after=after, limit=ROWS_AT_ONCE
            )
        again += moved
        if len(moved) < ROWS_AT_ONCE:
            return again
        after = moved[-1]
