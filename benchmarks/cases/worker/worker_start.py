"""How long a worker takes from the start of Python to its first call, with rows on the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness.figures import Figure, alone
from benchmarks.harness.fleet import Fleet, fleet

#: A row more than the worker has slots.
ROWS = 101


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the seconds. Three rounds more, since a start is short."""
    with fleet(0.0) as made:
        once(made)  # which writes bytecode, and does not count
        runs = [once(made) for _ in range(rounds + 3)]
    yield alone(
        "worker_start",
        "worker: from the start of its process to its first call",
        runs,
        unit="s",
        at_most=2.5,
    )


def once(made: Fleet) -> float:
    """Start a worker beside a queue of rows; return the seconds to its first call."""
    batch_id = made.batch(ROWS)
    made.standin.clear()
    worker = made.start()
    end = time.monotonic() + 60
    while not (calls := made.standin.calls()):
        if time.monotonic() > end:
            raise TimeoutError("the worker has made no call for a minute")
        time.sleep(0.1)
    made.wait(batch_id)
    made.stop()
    return min(call.time for call in calls) - worker.started
