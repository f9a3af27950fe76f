"""Every worker can feed the queue: one of the fleet at a time does, so that no batch needs its
submitter to stay."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutdown

from rowfleet.errors import ServiceError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.patience import Absence
from rowfleet.queue.client import Queue
from rowfleet.rate_limits.cap import Cap
from rowfleet.rate_limits.lane import PerMinute
from rowfleet.settings import Settings
from worker import ledger
from worker.steps.schema import Schema

log = logging.getLogger(__name__)

#: Seconds between steps: a retry that falls due waits no longer than this.
INTERVAL = 1.0


class Keeper(bootsteps.StartStopStep):
    """Runs a Feeder beside the worker, in a thread of the main process."""

    requires: Any = (Schema,)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._settings: Settings = worker.app.rowfleet_settings
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._feeder: Feeder | None = None
        # When the last row has ended, which may have been in a retry for later.
        worker_shutdown.connect(self._leave_word, weak=False)

    def start(self, _worker: Any) -> None:
        """Start feeding."""
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self, _worker: Any) -> None:
        """Stop feeding; a step under way ends first."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    terminate = stop

    def _run(self) -> None:
        settings = self._settings
        engine = ledger.engine(settings)
        queue = Queue(settings)
        self._feeder = feeder = Feeder(
            engine,
            queue,
            window=settings.window,
            redelivery=settings.visibility_timeout,
            cap=Cap(
                engine, queue, PerMinute(settings.requests_per_minute, settings.tokens_per_minute)
            ),
        )
        absence = Absence(log, "not feeding for now: %s")
        while not self._stop.wait(INTERVAL):
            try:
                feeder.step()
                absence.ends()
            except ServiceError as error:
                absence.goes_on(error)
            except Exception:
                if not absence.tries:
                    log.exception("feeding failed; trying again")
                absence.tries += 1

    def _leave_word(self, **_: Any) -> None:
        if self._feeder is not None:
            try:
                self._feeder.leave_word()
            except ServiceError as error:
                log.warning("the autoscaler was not told of retries to come: %s", error)
