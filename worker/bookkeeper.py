"""The worker's one hand on the ledger: claims, results and leases, in grouped transactions.

Slots ask and wait; one thread per process writes. While a transaction commits, the next requests
gather, so a busy process commits a few times a second and needs one connection. If the ledger is
away the slots wait, and with them the fetching: nothing piles up, and no result is acknowledged
that is not saved.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from rowfleet.ledger.engine import Engine
from rowfleet.ledger.records import Key, Outcome
from rowfleet.ledger.statuses import RowStatus
from rowfleet.queue.keys import is_key
from worker.assignment import Assignment, Refused
from worker.group_commit import GroupCommit
from worker.running_rows import RunningRows
from worker.slot_requests import SlotRequests

log = logging.getLogger(__name__)


class Bookkeeper:
    """Claims and settles rows for all slots of one process. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        *,
        worker: str,
        lease: float,
        time_limit: float,
        on_stuck: Callable[[], None] | None = None,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """``worker`` is Celery's node name; ``lease`` and ``time_limit`` are in seconds.

        ``on_stuck`` is called once if a row outlives ``time_limit``: its slot can't be freed.
        ``is_ending`` tells whether the process shall end: then rows are begun no more that would
        have to wait for the ledger.
        """
        self.holder = uuid.uuid4().hex
        self._requests = SlotRequests()
        self._running = RunningRows(time_limit, on_stuck)
        self._commits = GroupCommit(
            engine,
            self._requests,
            self._running,
            holder=self.holder,
            worker=worker,
            lease=lease,
            is_ending=is_ending,
        )
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)
        self._thread.start()

    def claim(self, key: Key) -> Assignment | Refused:
        """Claim a row for this process; waits while the ledger is away.

        Raises Celery's Reject if the process shall end meanwhile: the message goes to others. A
        row that is claimed for a caller that was interrupted meanwhile is given back.
        """
        if not is_key(key):
            return Refused("its message names no row")
        request = self._requests.put("claim", key)
        try:
            result: Assignment | Refused = request.future.result()
        except BaseException:
            if not request.future.cancel() and request.future.exception() is None:
                self._requests.give_back_unbegun(request.future.result())
            raise
        return result

    def settle(self, outcome: Outcome) -> bool:
        """Save how a row ended; waits while the ledger is away. Return whether it counted.

        Raises ResultRefused if the ledger does not take that: the row has failed then. What else
        the ledger itself raises says that it takes nothing of this row; its lease runs out.
        """
        request = self._requests.put("settle", outcome)
        try:
            result: bool = request.future.result()
        except Exception:
            if request.future.done():
                raise
            result = request.future.result()  # a time limit came while it waited
        return result

    def give_back(self, assignment: Assignment) -> None:
        """Let others run a row whose slot ends. Does not wait, and does not count as a try."""
        row = assignment.row
        self._requests.put(
            "settle", Outcome(row.key, row.attempts, RowStatus.PENDING, counts=False)
        )

    def stop_batch(self, batch_id: str, reason: str) -> None:
        """Stop a batch that can't succeed."""
        self._requests.put("stop", (batch_id, reason)).future.result()

    def running(self) -> int:
        """Return how many rows this process runs now, stuck ones not counted."""
        return len(self._running)

    def is_stuck(self) -> bool:
        """Tell whether a slot holds a row for longer than the hard time limit."""
        return self._running.has_stuck()

    def away_for(self) -> float:
        """Return how many seconds ago the ledger was last reached."""
        return time.monotonic() - self._commits.reached_at

    def _run(self) -> None:
        while True:
            group = self._requests.gather(self._commits.renew_at)
            try:
                self._commits.commit(group, self._running.overdue())
            except Exception as error:  # a mistake of ours: the waiting slots must learn of it
                log.exception("requests to the ledger failed")
                for request in group:
                    self._requests.fail(request, error)
                self._commits.pause_renewals()
