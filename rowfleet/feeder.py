"""Feeding: pending rows go to the queue up to its window, and rows that got lost come back.

The waiting submitter does this, and every worker: one of them at a time has the turn. So a batch
goes on when its submitter is gone, and a retry's delay is spent in the ledger, not in a worker.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import Engine

from rowfleet.ledger import queries, transitions
from rowfleet.ledger.engine import reading
from rowfleet.queue import Queue

log = logging.getLogger(__name__)

#: Seconds the feeder keeps its turn after a step; another takes over when it dies.
TURN_SECONDS = 10.0

#: Seconds between looks for rows that got lost, by comparing counts.
REPAIR_INTERVAL = 3.0
#: Seconds between looks into the messages themselves: a full window is 11 MB of them.
LOOK_INTERVAL = 60.0

#: Seconds a row must have been queued before a missing message counts as lost: its feeder may not
#: have pushed it yet.
QUEUED_GRACE = 5.0
#: Seconds between the two looks that must both find no message.
SECOND_LOOK = 1.0

#: Rows moved to the queue in one transaction.
FEED_CHUNK = 1_000


class Feeder:
    """Keeps one queue fed from the ledger. One per process."""

    def __init__(self, engine: Engine, queue: Queue, *, window: int, redelivery: float) -> None:
        """``redelivery``: seconds until a dead worker's message is delivered again."""
        self._engine = engine
        self._queue = queue
        self._window = window
        self._redelivery = redelivery
        self._id = uuid.uuid4().hex
        self._repaired_at = self._looked_at = time.monotonic() - LOOK_INTERVAL

    def step(self) -> None:
        """Feed, repair and close what needs it, if it is this process's turn.

        Raises ServiceError or sqlalchemy's DBAPIError if a service is away; nothing is lost then.
        """
        with self._queue.turn("feeder", self._id, TURN_SECONDS) as mine:
            if mine:
                self.feed()
                self._repair_now_and_then()

    def _repair_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._repaired_at < REPAIR_INTERVAL:
            return
        thorough = now - self._looked_at > LOOK_INTERVAL
        self.repair(thorough=thorough)
        self._repaired_at = now
        if thorough:
            self._looked_at = now

    def feed(self, only: str | None = None) -> int:
        """Fill the window from all live batches in equal shares, or from one. Return rows fed."""
        room = self._window - self._queue.depth()[0]
        if room <= 0:
            return 0
        with reading(self._engine) as connection:
            live = [only] if only else queries.live_batches(connection, self._queue.name)
        fed = 0
        while live and fed < room:
            share = max(1, (room - fed) // len(live))
            took_all = []
            for batch_id in live:
                got = self._feed_one(batch_id, share)
                fed += got
                if got == share:
                    took_all.append(batch_id)
            live = took_all  # who had less than its share leaves the rest to the others
        return fed

    def _feed_one(self, batch_id: str, limit: int) -> int:
        fed = 0
        while fed < limit:
            chunk = min(FEED_CHUNK, limit - fed)
            with self._engine.begin() as connection:
                numbers = transitions.feed(connection, batch_id, chunk)
            self._queue.push(batch_id, numbers)
            fed += len(numbers)
            if len(numbers) < chunk:
                break
        return fed

    def repair(self, only: str | None = None, *, thorough: bool = True) -> int:
        """Put back rows whose worker or message is gone, and close batches that have ended.

        Safe at any time, by several at once: a row that is merely slow at worst gets a second
        message, which finds it taken. Without ``thorough`` the messages are only read when there
        are fewer of them than rows that should have one. Return how many rows were put back.
        """
        with reading(self._engine) as connection:
            live = [only] if only else queries.live_batches(connection, self._queue.name)
            waiting = {
                batch_id: queries.queued_before(connection, batch_id, QUEUED_GRACE)
                for batch_id in live
            }
            expected = sum(sum(queries.live_counts(connection, batch_id)) for batch_id in live)
        lost: dict[str, list[int]] = {}
        if any(waiting.values()) and (thorough or sum(self._queue.depth()) < expected):
            lost = self._without_message(waiting)
            if any(lost.values()):
                # On its way from list to hash a message is in neither for a moment.
                time.sleep(SECOND_LOOK)
                lost = self._without_message(lost)
        back = 0
        for batch_id in live:
            with self._engine.begin() as connection:
                back += transitions.put_back(connection, batch_id, lost.get(batch_id, ()))
                back += transitions.expire(
                    connection, batch_id, grace=self._redelivery, by=self._id
                )
                transitions.finish_batch(connection, batch_id)
        if back:
            log.warning("put back %d rows whose worker or message was lost", back)
        return back

    def _without_message(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        present = self._queue.present()
        return {
            batch_id: [number for number in numbers if (batch_id, number) not in present]
            for batch_id, numbers in rows.items()
        }
