"""How much of its slots' time a fleet spends in calls: rows × latency ÷ slots ÷ wall time."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from celery import Celery

from benchmarks.baselines.bare_calls import requests
from benchmarks.harness.figures import Figure, interleaved
from benchmarks.harness.fleet import Fleet, fleet, span

LATENCY = 8.0
WANTED = 0.98
PROCESSES, SLOTS, ROWS = 2, 100, 2_000
#: The guide's set-up: as many rounds of its slots.
GUIDE_SLOTS, GUIDE_ROWS = 10, 100


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the efficiency. A run takes 80 seconds, so three rounds are enough."""
    with fleet(LATENCY) as made:
        ours, guide = interleaved(
            min(rounds, 3), lambda: _ours(made), lambda: _guide(made), warm_up=False
        )
    value, baseline = median(ours), median(guide)
    yield Figure(
        "pool_efficiency",
        f"rows × {LATENCY:g} s ÷ slots ÷ wall time, {PROCESSES} processes × {SLOTS} slots",
        value,
        "of the ideal",
        f"≥ {WANTED:g}",
        value >= WANTED,
        f"prefork, concurrency {GUIDE_SLOTS}, default settings",
        baseline,
        value / baseline,
        {"ours": ours, "baseline": guide},
    )


def _ours(made: Fleet) -> float:
    made.standin.configure(latency=0.2)
    for _ in range(PROCESSES):
        made.start("-c", str(SLOTS))
    made.warmed_up()
    made.standin.configure(latency=LATENCY)
    made.wait(made.batch(ROWS))
    made.stop()
    return ROWS * LATENCY / (PROCESSES * SLOTS) / span(made.standin.calls())


def _guide(made: Fleet) -> float:
    made.standin.configure(latency=0.2)
    made.start("-c", str(GUIDE_SLOTS), app="benchmarks.baselines.guide_worker")
    asked = requests(GUIDE_ROWS)
    guided(made, asked)
    made.standin.configure(latency=LATENCY)
    made.standin.clear()
    guided(made, asked)
    made.stop()
    return GUIDE_ROWS * LATENCY / GUIDE_SLOTS / span(made.standin.calls())


def guided(made: Fleet, asked: list[dict[str, object]], *, wait: bool = True) -> None:
    """Send requests to the guide's workers; wait until all are answered."""
    before = made.standin.summary()["calls"]
    with Celery(broker=made.broker) as app:
        for request in asked:
            app.send_task("analyze", (request,))
    total = before + len(asked)
    if wait:
        made.standin.wait_until(
            lambda summary: summary["calls"] >= total and not summary["in_flight"], timeout=600
        )
