"""Messages a second onto the queue: pushed in chunks, beside one `send_task` a row."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness import services
from benchmarks.harness.figures import Figure, compared, interleaved
from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.queue.message import TASK_NAME
from rowfleet.settings import load_settings

#: Rows of one measurement; `send_task` takes a few seconds for them.
ROWS = 5_000


def measure(rounds: int) -> Iterator[Figure]:
    """Yield messages a second."""
    with services.broker() as broker:
        settings = load_settings({}, redis_url=broker)
        queue, app = Queue(settings), celery_app(settings)

        def pushed() -> float:
            started = time.perf_counter()
            queue.push("bench", range(ROWS))
            return ROWS / (time.perf_counter() - started)

        def sent() -> float:
            started = time.perf_counter()
            for number in range(ROWS):
                app.send_task(TASK_NAME, ("bench", number))
            return ROWS / (time.perf_counter() - started)

        ours, theirs = interleaved(rounds, pushed, sent)
    yield compared(
        "feeding",
        "messages onto the queue",
        ours,
        theirs,
        unit="messages/s",
        beside="one `send_task` a row",
        at_least=4,
    )
