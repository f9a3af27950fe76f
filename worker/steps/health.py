"""Health, as a file's age: what a pod's liveness probe reads without asking the worker anything.

The file is touched for as long as the worker does its work or waits for something that a restart
would not bring back. It grows old when the consumer's loop is stuck, or when a slot has held a row
for longer than the hard limit. A broker that is away is no reason: to restart the worker then
would only end rows that can still be answered and saved. Nor is a shutdown that waits for its rows.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import state

from rowfleet.errors import ServiceError
from rowfleet.queue.app import LONGEST_WAIT
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from worker.steps.heartbeat import LONGEST_INTERVAL, VisibilityHeartbeat

log = logging.getLogger(__name__)

#: Seconds between touches.
INTERVAL = 5.0
#: Seconds without a beat of the consumer after which the broker is asked whether it is there.
QUIET = 2 * LONGEST_INTERVAL
#: Seconds without a beat, with a broker that answers, after which the consumer counts as stuck.
SILENCE = 60.0


class Health(bootsteps.StartStopStep):
    """Touches the file that `ROWFLEET_HEALTH_FILE` names, if it names one."""

    #: Tells whether a slot holds its row for longer than the hard limit.
    is_stuck: ClassVar[Any] = staticmethod(lambda: False)

    def __init__(self, worker: Any, **_: Any) -> None:
        name = os.environ.get("ROWFLEET_HEALTH_FILE")
        self._file = Path(name) if name else None
        self._settings: Settings = worker.app.rowfleet_settings
        self._silence = SILENCE
        if worker.pool_cls.__module__ == "celery.concurrency.solo":  # runs rows in that very loop
            self._silence += self._settings.time_limit + LONGEST_WAIT
        self._excused = time.monotonic()  # it has not had time to connect yet

    def start(self, _worker: Any) -> None:
        """Begin to touch the file."""
        if self._file is not None:
            threading.Thread(
                target=self._run, args=(self._file,), name="health", daemon=True
            ).start()

    def _run(self, file: Path) -> None:
        queue = Queue(self._settings)
        failed = False
        while True:
            if not self.is_stuck() and not self._is_silent(queue):
                try:
                    file.touch()
                    failed = False
                except OSError as error:
                    if not failed:
                        log.warning("ROWFLEET_HEALTH_FILE=%s: %s", file, error.strerror)
                    failed = True
            time.sleep(INTERVAL)

    def _is_silent(self, queue: Queue) -> bool:
        now = time.monotonic()
        stopping: Any = state.should_stop
        if stopping is not None:  # the consumer has ended, the rows go on to their end
            return False
        if now - VisibilityHeartbeat.last_beat < QUIET:
            return False
        try:
            queue.check()
        except ServiceError:
            self._excused = now
        return now - max(VisibilityHeartbeat.last_beat, self._excused) >= self._silence
