"""What a row costs PostgreSQL at 500 rows a second, beside one transaction for each transition."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine, text

from benchmarks.harness import services
from benchmarks.harness.figures import Figure, compared
from benchmarks.harness.fleet import record
from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.records import Claimed, Outcome, Spent
from rowfleet.ledger.transitions import claiming, feeding, settling
from worker.assignment import Assignment
from worker.bookkeeper import Bookkeeper

#: Rows a second, and rows of a run. Slots take their rows on time, as if calls took 0.4 s.
RATE, ROWS, SLOTS = 500, 5_000, 200
LATENCY = SLOTS / RATE

#: Seconds after which a backend has reported what it did; it does so once a second.
STATISTICS = 1.5

OUTPUT = {
    "refund_eligible": True,
    "basis": "excess_tax",
    "estimated_refund": 12.5,
    "confidence": 80,
    "explanation": "The tax is higher than the rate allows, by 12.50.",
}
SPENT = Spent(1, 1_500, 0, 80, 0, 0.0005)


def measure(rounds: int) -> Iterator[Figure]:
    """Yield commits a second, and what is written for a row."""
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    # A bookkeeper ends with its process, and says until then that its database is gone.
    logging.getLogger("worker.group_commit").setLevel(logging.CRITICAL)
    with services.ledgers("postgresql") as ledgers:
        for _ in range(min(rounds, 3)):
            for books, runs in ((Grouped, ours), (Apart, theirs)):
                for name, value in _run(ledgers.new(), books).items():
                    runs.setdefault(name, []).append(value)
    beside = "one transaction for each transition"
    yield compared(
        "ledger_commits",
        f"PostgreSQL commits a second, {RATE} rows/s",
        ours["commits"],
        theirs["commits"],
        unit="commits/s",
        beside=beside,
        at_most=0.5,
    )
    yield compared(
        "ledger_writes",
        "PostgreSQL: writes of its log to disk, for a row",
        ours["writes"],
        theirs["writes"],
        unit="writes",
        beside=beside,
        at_most=0.5,
    )
    yield compared(
        "ledger_bytes",
        "PostgreSQL: bytes of write-ahead log a row",
        ours["bytes"],
        theirs["bytes"],
        unit="bytes",
        beside=beside,
        at_most=0.5,
        note="both write a row's tuple twice, at claim and end, and its index entries; "
        f"tuples written a row: {ours['tuples'][0]:.2f} and {theirs['tuples'][0]:.2f}",
    )
    yield compared(
        "ledger_syncs",
        f"PostgreSQL: times a second that its log is made durable, {RATE} rows/s",
        ours["syncs"],
        theirs["syncs"],
        unit="fsyncs/s",
        beside=beside,
        at_most=0.5,
    )


class Grouped:
    """The worker's own bookkeeper."""

    def __init__(self, url: str) -> None:
        self._engine = open_ledger(url)
        self._books = Bookkeeper(self._engine, worker="w", lease=45, time_limit=600)

    def claim(self, key: records.Key) -> Claimed:
        assignment = self._books.claim(key)
        assert isinstance(assignment, Assignment)
        return assignment.row

    def settle(self, outcome: Outcome) -> None:
        assert self._books.settle(outcome)


class Apart:
    """A connection for each slot, and a transaction for each claim and each result."""

    def __init__(self, url: str) -> None:
        self._engine = open_ledger(url, connections=50)

    def claim(self, key: records.Key) -> Claimed:
        with self._engine.begin() as connection:
            return claiming.claim(connection, [key], holder="h", worker="w", lease=45)[key]

    def settle(self, outcome: Outcome) -> None:
        with self._engine.begin() as connection:
            assert settling.settle(connection, [outcome], holder="h")


def _run(url: str, kind: Any) -> dict[str, float]:
    engine = open_ledger(url)
    record(engine, "b", ROWS)
    with engine.begin() as connection:
        feeding.feed(connection, "b", ROWS)
    books = kind(url)
    time.sleep(STATISTICS)
    before = _counters(engine)
    began = time.monotonic()

    def row(number: int) -> None:
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        claimed = books.claim(("b", number))
        time.sleep(LATENCY * 0.8)
        books.settle(Outcome(claimed.key, 1, "done", output=OUTPUT, spent=SPENT, latency=LATENCY))

    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(row, range(ROWS)))
    seconds = time.monotonic() - began
    time.sleep(STATISTICS)
    after = _counters(engine)
    engine.dispose()
    done = {name: after[name] - before[name] for name in after}
    return {
        "commits": done["commits"] / seconds,
        "bytes": done["bytes"] / ROWS,
        "tuples": done["tuples"] / ROWS,
        "writes": done["writes"] / ROWS,
        "syncs": done["syncs"] / seconds,
        "rate": ROWS / seconds,
    }


def _counters(engine: Engine) -> dict[str, float]:
    with engine.connect() as connection:
        row = connection.execute(
            text(
                "SELECT d.xact_commit AS commits, d.tup_updated + d.tup_inserted AS tuples,"
                " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bytes,"
                " (SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal') AS syncs,"
                " (SELECT coalesce(sum(writes), 0) FROM pg_stat_io WHERE object = 'wal') AS writes"
                " FROM pg_stat_database d WHERE d.datname = current_database()"
            )
        ).one()
    return {name: float(value) for name, value in row._mapping.items()}
