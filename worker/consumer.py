"""Celery's consumer, patient with a broker that answers and refuses.

A broker that is full, or has become a replica, takes connections and no writes. Celery then starts
its consumer again several times a second, and says so each time.
"""

from __future__ import annotations

import logging
import time

from celery.worker import consumer, state

from rowfleet.errors import ServiceError
from rowfleet.queue import Queue
from worker.heartbeat import VisibilityHeartbeat

log = logging.getLogger(__name__)

#: Seconds between tries.
PAUSE = 1.0


class Consumer(consumer.Consumer):
    """Waits until the broker takes writes before it starts again."""

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait; say once what for. Celery calls this for a broker that it has a connection to."""
        log.warning("the broker refuses to work: %s; waiting, no row is lost", exc)
        queue = Queue(self.app.rowfleet_settings)
        while True:
            time.sleep(PAUSE)
            state.maybe_shutdown()
            VisibilityHeartbeat.lives()  # the loop is not stuck; a restart would end good rows
            try:
                with queue.turn("probe", self.hostname, PAUSE):
                    break
            except ServiceError:
                continue
        log.warning("the broker works again")
