"""Memory that must not grow with the sheet: the submitter's, and the broker's."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import services, sheets
from benchmarks.harness.figures import Figure, flat

LARGE, MIDDLE, SMALL = 1_000_000, 100_000, 50_000


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the submitter's peak and the broker's. Memory hardly varies: two rounds are enough."""
    submitter: dict[int, list[float]] = {}
    brokers: dict[int, list[float]] = {}
    with services.ledgers("postgresql") as ledgers:
        for _ in range(min(rounds, 2)):
            for rows in (SMALL, MIDDLE, LARGE):
                ledger = ledgers.new()
                with services.broker() as broker:
                    run = services.submit(sheets.master(rows), ledger, broker)
                    info = services.client(broker).info("memory")
                ledgers.drop(ledger)
                submitter.setdefault(rows, []).append(run.peak_mb)
                brokers.setdefault(rows, []).append(info["used_memory_peak"] / 1e6)
    yield flat(
        "submit_memory",
        "submitter's peak memory, 1,000,000 rows",
        submitter[LARGE],
        submitter[MIDDLE],
        unit="MB",
        beside="100,000 rows",
        at_most=150,
        growth=1.25,
        note="what grows is the table of shared strings: 1.1 million of them",
    )
    yield flat(
        "redis_memory",
        "Redis' peak memory, 1,000,000 rows",
        brokers[LARGE],
        brokers[SMALL],
        unit="MB",
        beside="50,000 rows",
        at_most=32,
    )
