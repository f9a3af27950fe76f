"""What `rowfleet progress` asks the database, for a batch of 1,000,000 rows that is half done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event

from benchmarks.harness import filled, services
from benchmarks.harness.figures import RESULTS, Figure, alone
from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.queries import progress

ROWS = 1_000_000
#: A day's run: 11,520 tallies.
MINUTES = 24 * 60
#: Rows waiting on the queue, the default window, and running, on ten workers.
WINDOW, RUNNING = 10_000, 1_000


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the milliseconds, and write the plans to `results/progress.plans.txt`."""
    with services.ledgers("postgresql") as ledgers:
        engine = open_ledger(ledgers.new())
        batch_id = filled.half_way(engine, ROWS, minutes=MINUTES, window=WINDOW, running=RUNNING)
        asked = _statements(engine, batch_id)
        runs = []
        for _ in range(rounds * 4):
            started = time.perf_counter()
            with reading(engine) as connection:
                progress.progress_of(connection, batch_id)
            runs.append((time.perf_counter() - started) * 1000)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "progress.plans.txt").write_text(_plans(engine, asked))
        engine.dispose()
    yield alone(
        "progress",
        "`progress` of 1,000,000 rows, in the database",
        runs,
        unit="ms",
        at_most=100,
        note="all statements, with their round trips",
    )


def _statements(engine: Engine, batch_id: str) -> list[tuple[str, Any]]:
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    with reading(engine) as connection:
        progress.progress_of(connection, batch_id)
    event.remove(engine, "before_cursor_execute", note)
    return asked


def _plans(engine: Engine, asked: list[tuple[str, Any]]) -> str:
    lines: list[str] = []
    with engine.connect() as connection:
        for statement, parameters in asked:
            lines += [" ".join(statement.split()), ""]
            explained = f"EXPLAIN (ANALYZE, BUFFERS) {statement}"
            lines += [f"    {row[0]}" for row in connection.exec_driver_sql(explained, parameters)]
            lines.append("")
    return "\n".join(lines)
