"""Memory of a worker for each call in flight."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.baselines.bare_calls import requests
from benchmarks.cases.worker.pool import GUIDE_SLOTS, guided
from benchmarks.harness.figures import Figure, compared
from benchmarks.harness.fleet import Fleet, fleet

FEW, MANY = 100, 500
#: Seconds of a call: long enough that all slots are in one at once.
LATENCY = 15.0


def measure(rounds: int) -> Iterator[Figure]:
    """Yield MB a call at two sizes. Memory hardly varies: two rounds are enough."""
    few, many, guide, shared = list[float](), list[float](), list[float](), list[float]()
    with fleet(0.2) as made:
        for _ in range(min(rounds, 2)):
            few.append(_ours(made, FEW))
            many.append(_ours(made, MANY))
            guide_rss, guide_pss = _guide(made)
            guide.append(guide_rss)
            shared.append(guide_pss)
    for slots, ours in ((FEW, few), (MANY, many)):
        yield compared(
            f"worker_memory_{slots}",
            f"worker's memory for each call in flight, {slots} slots",
            ours,
            guide,
            unit="MB",
            beside=f"prefork, concurrency {GUIDE_SLOTS}",
            at_most=1 / 30,
            note="resident memory of all processes; pages that prefork's children share counted "
            f"once, a call of theirs has {sum(shared) / len(shared):.0f} MB",
        )


def _ours(made: Fleet, slots: int) -> float:
    made.standin.configure(latency=0.2)
    worker = made.start("-c", str(slots))
    made.warmed_up()
    made.standin.configure(latency=LATENCY)
    made.batch(slots)
    made.standin.wait_until(lambda summary: summary["in_flight"] == slots)
    megabytes = worker.rss()
    _end(made)
    return megabytes / slots


def _guide(made: Fleet) -> tuple[float, float]:
    made.standin.configure(latency=0.2)
    worker = made.start("-c", str(GUIDE_SLOTS), app="benchmarks.baselines.guide_worker")
    asked = requests(10 * GUIDE_SLOTS)
    guided(made, asked)
    made.standin.configure(latency=LATENCY)
    guided(made, asked[:GUIDE_SLOTS], wait=False)
    made.standin.wait_until(lambda summary: summary["in_flight"] == GUIDE_SLOTS)
    sizes = worker.rss() / GUIDE_SLOTS, worker.pss() / GUIDE_SLOTS
    _end(made)
    return sizes


def _end(made: Fleet) -> None:
    """Let what is in flight end, so that nothing of it comes back to the next worker."""
    made.standin.wait_until(lambda summary: not summary["in_flight"], timeout=60)
    time.sleep(1)
    made.stop()
