"""What Celery's task events and a Flower that listens cost a worker, and what Flower takes."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from benchmarks.harness import services
from benchmarks.harness.figures import Figure, compared, flat, interleaved
from benchmarks.harness.fleet import Fleet, fleet, span
from tests.support import brokers

#: Some 500 rows a second in two processes: a row has its slot for about 0.3 s, of which the call
#: takes 0.25.
LATENCY, SLOTS, PROCESSES, ROWS = 0.25, 85, 2, 6_000
#: Tasks that Flower keeps. The chart gives it more, which only a longer run would fill.
MAX_TASKS = 2_000

FLOWER = {
    "FLOWER_MAX_TASKS": str(MAX_TASKS),
    "FLOWER_UNAUTHENTICATED_API": "true",
    "FLOWER_ADDRESS": "127.0.0.1",
}


def measure(rounds: int) -> Iterator[Figure]:
    """Yield rows a second with events and Flower, beside neither of them, and Flower's memory."""
    early, late = list[float](), list[float]()
    with fleet(LATENCY) as made:

        def with_events() -> float:
            with _flower(made) as process:
                rate = _rate(made)
                early.append(process.memory_info().rss / 1e6)
                _rate(made)
                late.append(process.memory_info().rss / 1e6)
            return rate

        def without() -> float:
            return _rate(made, app="benchmarks.baselines.silent_worker")

        on, off = interleaved(min(rounds, 3), with_events, without, warm_up=False)
    yield compared(
        "events",
        f"rows a second with task events and Flower, {PROCESSES} processes × {SLOTS} slots",
        on,
        off,
        unit="rows/s",
        beside="events off",
        at_least=0.95,
    )
    yield flat(
        "flower_memory",
        f"Flower's memory after {2 * ROWS:,} rows, max_tasks {MAX_TASKS:,}",
        late,
        early,
        unit="MB",
        beside=f"after {ROWS:,} rows",
        at_most=256,
    )


def _rate(made: Fleet, app: str = "worker") -> float:
    for _ in range(PROCESSES):
        made.start("-c", str(SLOTS), app=app)
    made.warmed_up()
    made.wait(made.batch(ROWS))
    made.stop()
    return ROWS / span(made.standin.calls())


@contextmanager
def _flower(made: Fleet) -> Iterator[psutil.Process]:
    port = brokers.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={port}"],
        env={**services.environment(FLOWER), **made.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(300):
            try:
                opener.open(f"http://127.0.0.1:{port}/healthcheck", timeout=2).read()
                break
            except OSError:
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()
