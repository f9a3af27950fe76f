"""What must hold after every case, read from ledger, queue, call log and finished sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis
from sqlalchemy import select

from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.recipes.loading import bundled
from tests.chaos.fleet import Fleet, Key, Sheet
from tests.support.sheets import HEADER, results

#: Seconds in which the last messages must be acknowledged, and submitters end. A message that was
#: delivered again after its row had ended is acknowledged when its turn comes.
AFTERWARDS = 40.0


@dataclass(frozen=True, slots=True)
class _Row:
    status: str
    error: str | None
    retries: int
    attempts: int


def conclude(
    fleet: Fleet,
    *,
    failed: Mapping[Key, str] | None = None,
    may_be_cancelled: Sheet | None = None,
    seconds: float = 90,
) -> None:
    """Wait for the end and assert all that the design promises.

    ``failed``: rows that must fail, and a part of the reason. All others must be done; those of
    ``may_be_cancelled`` may be cancelled, too.
    """
    failed = failed or {}
    fleet.finish(seconds)
    died = [worker.name for worker in fleet.workers if not (worker.is_alive or worker.may_end)]
    assert not died, f"workers that the test did not kill have ended: {died}"
    rows = _rows(fleet)
    expected = {(s.batch_id, n) for s in fleet.sheets for n in range(s.rows)}
    assert set(rows) == expected, "rows missing from the ledger, or too many"
    wrong = {}
    for key, row in rows.items():
        if key in failed:
            good = row.status == "failed" and failed[key] in (row.error or "")
        elif may_be_cancelled and key[0] == may_be_cancelled.batch_id:
            good = row.status in ("done", "cancelled")
        else:
            good = row.status == "done"
        if not good:
            wrong[key] = (row.status, row.error)
    fleet.record.rows = len(expected)
    fleet.record.lost = len(wrong)
    assert not wrong, f"ended otherwise than they should: {wrong}"
    _check_calls(fleet, rows)
    _check_queue(fleet)
    for sheet in fleet.sheets:
        _check_batch(fleet, sheet, rows)
        if sheet is not may_be_cancelled:
            _check_export(fleet, sheet, rows)


def _rows(fleet: Fleet) -> dict[Key, _Row]:
    with fleet.engine.connect() as connection:
        found = connection.execute(
            select(Row.batch_id, Row.number, Row.status, Row.error, Row.retries, Row.attempts)
        ).all()
    return {(row[0], row[1]): _Row(*row[2:]) for row in found}


def _check_calls(fleet: Fleet, rows: Mapping[Key, _Row]) -> None:
    """Row by row: one call, one a retry, one for each time it was in flight at a kill."""
    calls = fleet.calls()
    assert set(calls) <= set(rows), "calls for rows that are in no batch"
    over = {key: count - 1 - rows[key].retries for key, count in calls.items()}
    fleet.record.calls_over = sum(max(0, more) for more in over.values())
    fleet.record.allowed = fleet.excused.total()
    paid_twice = {
        key: {"calls": calls[key], "allowed for kills": fleet.excused[key], "row": rows[key]}
        for key, more in over.items()
        if more > fleet.excused[key]
    }
    assert not paid_twice, f"paid for without need: {paid_twice}"
    assert fleet.record.calls_over <= fleet.record.allowed
    unpaid = [key for key, row in rows.items() if row.status == "done" and not calls[key]]
    assert not unpaid, f"done without a call: {unpaid}"


def _check_queue(fleet: Fleet) -> None:
    queue = fleet.environment["ROWFLEET_QUEUE"]
    client = redis.Redis.from_url(fleet.environment["REDIS_URL"])

    def left() -> tuple[Any, ...]:
        return (
            client.llen(queue),
            client.hlen(f"{queue}.unacked"),
            client.zcard(f"{queue}.unacked_index"),
        )

    fleet.until(lambda: left() == (0, 0, 0), AFTERWARDS)
    client.close()


def _check_batch(fleet: Fleet, sheet: Sheet, rows: Mapping[Key, _Row]) -> None:
    """The batch is closed, and its sums are those of its rows: no end was counted twice."""
    fleet.until(lambda: fleet.batch_status(sheet) in ("finished", "cancelled"), AFTERWARDS)
    with fleet.engine.connect() as connection:
        progress = progress_of(connection, sheet.batch_id)
        total = connection.execute(
            select(Batch.total).where(Batch.id == sheet.batch_id)
        ).scalar_one()
    ends = [row.status for key, row in rows.items() if key[0] == sheet.batch_id]
    sums = (progress.done, progress.failed, progress.cancelled, total)
    assert sums == (
        ends.count("done"),
        ends.count("failed"),
        ends.count("cancelled"),
        sheet.rows,
    )


def _check_export(fleet: Fleet, sheet: Sheet, rows: Mapping[Key, _Row]) -> None:
    """The finished sheet has every row in its place, with every column."""
    for process in sheet.submitters:
        fleet.until(lambda p=process: p.poll() is not None, AFTERWARDS)
    if not sheet.out.exists():
        assert fleet.run("export", sheet.batch_id, str(sheet.out)) == 0
    written = results(sheet.out)
    assert len(written) == sheet.rows
    added = [*bundled().headers().values(), "AI_Analyzer", "AI_Row", "AI_Status", "AI_Error"]
    assert sorted(written[0]) == sorted([*HEADER, *added])
    assert list(written[0])[: len(HEADER)] == HEADER
    for number, line in enumerate(written):
        row = rows[sheet.batch_id, number]
        assert line["Invoice Number"] == f"{sheet.prefix}-{number}"
        assert line["AI_Row"] == number + 2
        assert line["AI_Status"] == row.status
        if row.status == "done":  # the stand-in says whose answer it is
            assert f"{sheet.prefix}-{number} (row {number})" in str(line["AI_Explanation"])
