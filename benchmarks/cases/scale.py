"""The ledger's questions while 500 batches live, in PostgreSQL, over 10,000,000 rows of them.

Of the rows 9,000,000 are for workers, and 1,000,000 are a batch that goes through the Batch API.
Beside the times, the plans go to `results/scale.plans.txt`. Making the rows takes some minutes, and
6 GB of disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from benchmarks.harness import filled, services, sheets
from benchmarks.harness.figures import RESULTS, Figure, alone
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.queries import parts
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.transitions import recording
from rowfleet.queue.client import Queue
from rowfleet.settings import load_settings

#: Live batches on one queue, and rows of each; half of them are done.
BATCHES, ROWS = 500, 18_000
#: Rows of the batch that goes through the Batch API, in parts, and those that wait for a retry.
REMOTE_ROWS, PART_ROWS, RETRIES = 1_000_000, 50_000, 5_000
#: A row's cells: some hundred bytes, as 15 columns of invoices have.
CELLS = "[" + ", ".join(f'"cell {number} of a row"' for number in range(15)) + "]"
#: Characters of a statement that are written down.
LONGEST = 1_500
#: Rows that are inserted in one transaction.
CHUNK = 250_000


def measure(rounds: int, *, batches: int = BATCHES, rows: int = ROWS) -> Iterator[Figure]:
    """Yield the milliseconds of each look, and write the plans down."""
    plans: list[str] = []
    title = f"{batches} live batches, {batches * rows + REMOTE_ROWS:,} rows"
    with services.broker() as broker, services.ledgers("postgresql") as ledgers:
        url = ledgers.new()
        engine = open_ledger(url)
        queue = Queue(load_settings({}, redis_url=broker, database_url=url, queue="rowfleet"))
        keeper = Feeder(engine, queue, window=10_000, redelivery=75)
        began = time.monotonic()
        fill(engine, batches, rows)
        remote_batch(engine)
        vacuum(engine)
        plans.append(f"{title}, made in {time.monotonic() - began:.0f} s")
        plans.append(f"first feed, 10,000 messages: {_seconds(keeper.feed):.2f} s")
        vacuum(engine)

        def step() -> None:
            keeper.feed()
            keeper.repair(patient=True)
            keeper.leave_word()

        def progress() -> None:
            with reading(engine) as connection:
                progress_of(connection, "remote")

        def waiting() -> None:
            with reading(engine) as connection:
                parts.waiting_for_room(connection, "remote", PART_ROWS)

        for name, what, work, most in (
            ("scale_step", "a feeder's step with a full window", step, 1000),
            ("scale_waiting", "Batch API: which rows wait", waiting, 100),
            ("scale_progress", "Batch API: `progress` of 1,000,000 rows", progress, 100),
        ):
            plans.append(f"\n=== {what}\n\n{_plans(engine, work)}")
            runs = [_seconds(work) * 1000 for _ in range(max(3, rounds * 2))]
            yield alone(name, f"{what}; {title}", runs, unit="ms", at_most=most)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "scale.plans.txt").write_text("\n".join(plans) + "\n")
        engine.dispose()


def fill(engine: Engine, batches: int, rows: int) -> None:
    """Make live batches whose first half is done, made by the database itself."""
    with engine.begin() as connection:
        for number in range(batches):
            recording.create_batch(connection, filled.new_batch(f"b{number:03}"))
            recording.finish_loading(connection, f"b{number:03}")
        connection.execute(text("UPDATE batches SET total = :rows"), {"rows": rows})
    several = max(1, CHUNK // rows)
    for first in range(0, batches, several):
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO rows (batch_id, number, cells, status) "
                    "SELECT 'b' || lpad(b::text, 3, '0'), n, CAST(:cells AS json), "
                    "CASE WHEN n < :half THEN 'done' ELSE 'pending' END "
                    "FROM generate_series(CAST(:first AS integer), :last) AS b, "
                    "generate_series(0, :rows - 1) AS n"
                ),
                {
                    "cells": CELLS,
                    "half": rows // 2,
                    "rows": rows,
                    "first": first,
                    "last": min(first + several, batches) - 1,
                },
            )
            connection.execute(
                text(
                    "INSERT INTO tallies (batch_id, minute, shard, done) "
                    "SELECT 'b' || lpad(b::text, 3, '0'), 1, 0, :half "
                    "FROM generate_series(CAST(:first AS integer), :last) AS b"
                ),
                {"half": rows // 2, "first": first, "last": min(first + several, batches) - 1},
            )


def remote_batch(engine: Engine) -> None:
    """Make the batch `remote`, all of whose rows are with the API but those that wait."""
    with engine.begin() as connection:
        new = filled.new_batch("remote", sheets.HEADER)
        recording.create_batch(connection, new)
        recording.finish_loading(connection, "remote")
        connection.execute(
            text(
                "UPDATE batches SET total = :rows, tier = 'batch', queue = 'openai-batch' "
                "WHERE id = 'remote'"
            ),
            {"rows": REMOTE_ROWS},
        )
        connection.execute(
            text(
                "INSERT INTO rows (batch_id, number, cells, status, claim, due_at) "
                "SELECT 'remote', n, CAST(:cells AS json), "
                "CASE WHEN n < :retries THEN 'pending' ELSE 'running' END, "
                "'part-' || (n / :part), "
                "CASE WHEN n < :retries THEN now() + interval '1 hour' END "
                "FROM generate_series(0, :rows - 1) AS n"
            ),
            {"cells": CELLS, "rows": REMOTE_ROWS, "part": PART_ROWS, "retries": RETRIES},
        )
        connection.execute(
            text(
                "INSERT INTO remote_batches (batch_id, part, token, row_count, first_row, "
                "last_row, remote_id, remote_status, created_at) "
                "SELECT 'remote', p + 1, 'part-' || p, :part, p * :part, (p + 1) * :part - 1, "
                "'batch_' || p, CASE WHEN p = 1 THEN 'completed' ELSE 'in_progress' END, now() "
                "FROM generate_series(0, :parts - 1) AS p"
            ),
            {"part": PART_ROWS, "parts": REMOTE_ROWS // PART_ROWS},
        )


def vacuum(engine: Engine) -> None:
    """Do what autovacuum does."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("rows", "batches", "tallies", "remote_batches"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _plans(engine: Engine, work: Callable[[], object]) -> str:
    """Return the plan of each statement that ``work`` sends, made where it is sent."""
    lines: list[str] = []

    def explain(
        connection: Connection, _k: object, statement: str, parameters: Any, *_: object
    ) -> None:
        if not statement.startswith("SELECT"):
            return
        shown = " ".join(statement.split())
        lines.extend((shown if len(shown) < LONGEST else f"{shown[:LONGEST]} …", ""))
        with connection.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            lines.extend(f"    {line[:200]}" for (line,) in cursor.fetchall())
        lines.append("")

    event.listen(engine, "before_cursor_execute", explain)
    work()
    event.remove(engine, "before_cursor_execute", explain)
    return "\n".join(lines)
