"""What a worker costs the servers it shares with all others: for a row, and while it has none.

One process of 100 slots answers rows whose calls take about 8 seconds, as a pod does. What grows
with the fleet is a product of these (docs/explanation/performance.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from sqlalchemy import func, select, text

from benchmarks.harness import services
from benchmarks.harness.figures import Figure
from benchmarks.harness.fleet import Fleet, fleet
from rowfleet.ledger.models import Row

SLOTS, LATENCY = 100, (6.0, 10.0)
#: Seconds that are measured: with rows, when the slots have fallen out of step; and without.
BUSY, IDLE = 40.0, 20.0
#: Rows that are more than enough for it.
ROWS = 1_000
#: Seconds until the slots are out of step, and until a worker without rows is quiet. PostgreSQL's
#: processes report once a second what they did.
SETTLING = 12.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What the servers did in a time of ``seconds``."""

    seconds: float
    rows: int
    redis_commands: float
    redis_cpu: float
    commits: float
    database_cpu: float
    wal: float
    connections: float


def measure(rounds: int) -> Iterator[Figure]:
    """Yield costs for a row at a pod's usual pace, and for a second of a pod without rows."""
    del rounds  # counts, which hardly vary
    with fleet(0.2) as made:
        made.start("-c", str(SLOTS))
        made.warmed_up()
        idle = _cost(made, IDLE)
        made.standin.configure(latency=list(LATENCY))
        made.batch(ROWS)
        busy = _cost(made, BUSY)
        made.stop()
    a_row = "a row of a pod of 100 slots, calls of 8 s"
    a_second = "a second of a pod without rows"
    yield _figure("rows", "rows a second of a pod", busy.rows / busy.seconds, "rows/s")
    for name, title, unit, in_a_row, in_a_second in (
        ("redis_commands", "Redis commands", "commands", busy.redis_commands, idle.redis_commands),
        ("redis_cpu", "Redis' CPU", "ms", busy.redis_cpu * 1000, idle.redis_cpu * 1000),
        ("commits", "PostgreSQL transactions", "transactions", busy.commits, idle.commits),
        ("cpu", "PostgreSQL's CPU", "ms", busy.database_cpu * 1000, idle.database_cpu * 1000),
        ("wal", "PostgreSQL's write-ahead log", "bytes", busy.wal, idle.wal),
    ):
        yield _figure(f"{name}_row", f"{title}, {a_row}", in_a_row / busy.rows, unit)
        yield _figure(f"{name}_idle", f"{title}, {a_second}", in_a_second / idle.seconds, unit)
    yield _figure("connections", "PostgreSQL connections of a pod", busy.connections, "connections")


def _figure(name: str, title: str, value: float, unit: str) -> Figure:
    return Figure(f"unit_{name}", title, value, unit, wanted="", met=True, runs={"ours": [value]})


def _cost(made: Fleet, seconds: float) -> Cost:
    time.sleep(SETTLING)
    started = time.monotonic()
    before = _counters(made)
    time.sleep(seconds)
    after = _counters(made)
    took = time.monotonic() - started
    gone = {name: after[name] - before[name] for name in after}
    return Cost(
        took,
        int(gone["rows"]),
        gone["redis_commands"],
        gone["redis_cpu"],
        gone["commits"],
        gone["database_cpu"],
        gone["wal"],
        after["connections"],
    )


def _counters(made: Fleet) -> dict[str, float]:
    with services.client(made.broker) as client:
        stats, cpu = client.info("stats"), client.info("cpu")
    ask = text(
        "SELECT d.xact_commit AS commits, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS wal,"
        " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        "  AND pid <> pg_backend_pid()) AS connections,"
        " (SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'checkpointer') AS one"
        " FROM pg_stat_database d WHERE d.datname = current_database()"
    )
    with made.ledger.connect() as connection:
        row = connection.execute(ask).one()
        done = connection.execute(
            select(func.count()).select_from(Row).where(Row.status == "done")
        ).scalar_one()
    server = psutil.Process(int(row.one)).parent()
    assert server is not None
    own = server.cpu_times()  # with those of its processes that have ended
    ended = own.children_user + own.children_system
    used = [own, *(process.cpu_times() for process in server.children())]
    return {
        "rows": done,
        "redis_commands": stats["total_commands_processed"],
        "redis_cpu": cpu["used_cpu_user"] + cpu["used_cpu_sys"],
        "commits": float(row.commits),
        "wal": float(row.wal),
        "connections": float(row.connections),
        "database_cpu": ended + sum(u.user + u.system for u in used),
    }
