"""From the start of `rowfleet submit` to the first message, for a sheet of 100,000 rows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness import services, sheets
from benchmarks.harness.figures import Figure, alone, interleaved

ROWS = 100_000
#: Seconds between looks at the queue.
POLL = 0.003


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the seconds, with the ledger in PostgreSQL."""
    sheet = sheets.master(ROWS)
    with services.broker() as broker, services.ledgers("postgresql") as ledgers:
        queue = services.client(broker)

        def first() -> float:
            queue.flushall()
            ledger = ledgers.new()
            env = {"DATABASE_URL": ledger, "REDIS_URL": broker}
            words = ("submit", "--excel", sheet, "--analyzer", "rules", "--json")
            started = time.perf_counter()
            process = services.start("-m", "submitter", *words, env=env)
            while not queue.llen("rowfleet") and process.poll() is None:
                time.sleep(POLL)
            seconds = time.perf_counter() - started
            if process.wait():
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
            ledgers.drop(ledger)
            return seconds

        (runs,) = interleaved(rounds, first)
    yield alone(
        "first_message",
        "start of `submit` to the first message, 100,000 rows",
        runs,
        unit="s",
        at_most=1.0,
        note="the whole sheet is checked before",
    )
