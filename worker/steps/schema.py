"""No message is taken before the ledger has the schema that this worker works with.

A new worker may start before the migration: it waits, and holds no row meanwhile. One of an older
version may start after it: it ends with a sentence, so that its operator sees it (Kubernetes
takes such a pod out of a rolling update first). One that is running when the ledger is migrated
goes on: every revision only adds to the last.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps
from celery.worker import state

from rowfleet.errors import ServiceError
from rowfleet.ledger.schema import NewerSchemaError, wait_for_schema
from worker import ledger
from worker.steps.health import Health
from worker.steps.heartbeat import VisibilityHeartbeat

log = logging.getLogger(__name__)

#: Seconds between looks at the ledger's schema.
POLL = 1.0
#: Seconds between looks whether the worker shall end.
LOOK = 0.2


class Schema(bootsteps.StartStopStep):
    """Holds up the worker's start until the ledger is ready; Celery's consumer starts last."""

    requires: Any = ("celery.worker.components:Pool", Health)

    def start(self, worker: Any) -> None:
        """Wait; end the worker if it is told to end, or if the ledger's schema is newer."""
        give_up, newer = threading.Event(), list[NewerSchemaError]()

        def wait() -> None:
            try:
                wait_for_schema(engine, poll=POLL, give_up=give_up)
            except NewerSchemaError as error:
                newer.append(error)

        # Beside the main thread, which a database that says nothing would keep from ending.
        engine = ledger.engine(worker.app.rowfleet_settings)
        waiting = threading.Thread(target=wait, name="schema", daemon=True)
        waiting.start()
        try:
            while waiting.is_alive():
                VisibilityHeartbeat.lives()  # it waits for what a restart would not bring
                waiting.join(LOOK)
                state.maybe_shutdown()
        except BaseException:
            give_up.set()
            raise
        if newer:
            log.error("%s", newer[0])
            raise SystemExit(ServiceError.exit_code)
