"""Feeding: pending rows go to the queue up to its window, and from time to time repair is due.

The waiting submitter does this, and every worker: one of them at a time has the turn. So a batch
goes on when its submitter is gone, and a retry's delay is spent in the ledger, not in a worker.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from rowfleet.feeding.document_feeder import DocumentFeeder
from rowfleet.feeding.repair import Repairs
from rowfleet.feeding.steadiness import Steadiness
from rowfleet.ledger.engine import Engine, looking, writing
from rowfleet.ledger.feed_records import Standing
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.transitions import feeding
from rowfleet.queue.client import INSERT_MOST, Queue
from rowfleet.queue.keys import FEEDER
from rowfleet.rate_limits.cap import Cap

#: Seconds the feeder keeps its turn after a step; another takes over when it dies.
TURN_SECONDS = 10.0

#: Seconds between looks for rows that got lost, by comparing counts.
REPAIR_INTERVAL = 3.0
#: Seconds between looks into the messages themselves: a full window is 11 MB of them.
LOOK_INTERVAL = 60.0

#: Extra seconds before the autoscaler's wake-up; a live feeder always renews it sooner.
WORD_INTERVAL = 2 * REPAIR_INTERVAL

#: Rows moved to the queue in one transaction.
FEED_CHUNK = 1_000


class Feeder:
    """Keeps one queue fed from the ledger. One per process."""

    def __init__(
        self,
        engine: Engine,
        queue: Queue,
        *,
        window: int,
        redelivery: float,
        cap: Cap | None = None,
    ) -> None:
        """``redelivery``: seconds until a dead worker's message is delivered again, above zero.

        ``cap`` is renewed before each feeding: pods are started for the rows on the queue.
        """
        self._engine = engine
        self._queue = queue
        self._window = window
        self._redelivery = redelivery
        self._cap = cap
        self._id = uuid.uuid4().hex
        self._repaired_at = self._looked_at = time.monotonic() - LOOK_INTERVAL
        self._steadiness = Steadiness(engine, redelivery)
        self._repairs = Repairs(engine, queue, self._steadiness, redelivery=redelivery, by=self._id)
        self._documents = DocumentFeeder(
            engine, queue, self._steadiness, redelivery=redelivery, by=self._id
        )

    @property
    def queue_name(self) -> str:
        """Name of the queue that it feeds."""
        return self._queue.name

    def step(self) -> None:
        """Feed, repair and close batches that need it, if it is this process's turn.

        Raises ServiceError if a service is away; nothing is lost then.
        """
        with self._queue.turn(FEEDER, self._id, TURN_SECONDS) as mine:
            if mine:
                self.feed()
                self._repair_now_and_then()

    def _repair_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._repaired_at < REPAIR_INTERVAL:
            return
        thorough = now - self._looked_at > LOOK_INTERVAL
        self.repair(thorough=thorough, patient=True)
        self._documents.repair(thorough=thorough, patient=True)
        self.leave_word()
        self._repaired_at = now
        if thorough:
            self._looked_at = now

    def leave_word(self) -> None:
        """Tell the autoscaler when a feeder is needed, in case no process runs then."""
        with looking(self._engine) as connection:
            live = fleet.live_batches(connection, self._queue.name)
            ids = [batch.id for batch in live]
            left = fleet.unsettled_batches(connection, self._queue.name)
            moments = [
                seconds
                for seconds in (
                    fleet.seconds_to_next(connection, ids, self._redelivery),
                    fleet.seconds_to_sweep(connection, left, self._redelivery),
                )
                if seconds is not None
            ]
        self._queue.wake_in(max(0.0, min(moments)) + WORD_INTERVAL if moments else None)
        self._documents.leave_word(WORD_INTERVAL)

    def feed(self, only: str | None = None) -> int:
        """Fill the window from all live batches in equal shares, or from one. Return rows fed.

        Urgent batches have a list and a window of their own. Documents that rows wait for are fed,
        too, whichever batch names them.
        """
        self._documents.step()
        if self._cap is not None:
            self._cap.write()
        self._steadiness.check()
        with looking(self._engine) as connection:
            live = fleet.live_batches(connection, self._queue.name)
            ids = [batch.id for batch in live if only in (None, batch.id)]
            wanted = [b for b in fleet.standings(connection, ids) if b.may_be_fed]
        urgent = {batch.id for batch in live if batch.urgent}
        fed = 0
        for is_urgent in (True, False):
            lane = [batch for batch in wanted if (batch.id in urgent) is is_urgent]
            if lane:
                sharing = len(urgent) if is_urgent else len(live) - len(urgent)
                fed += self._let_in(lane, sharing, is_urgent=is_urgent)
                fed += self._fill([batch.id for batch in lane], is_urgent=is_urgent)
        return fed

    def _let_in(self, batches: Sequence[Standing], sharing: int, *, is_urgent: bool) -> int:
        """Put rows of batches that have none queued between those that wait. Return rows fed.

        Behind a full window of others they would wait until all of that has run.
        """
        if sharing == 1:
            return 0
        fed = 0
        for batch in batches:
            if batch.has_queued:
                continue
            waiting = self._queue.waiting(is_urgent=is_urgent)
            if not waiting:
                break
            share = min(max(1, self._window // sharing), INSERT_MOST)
            with writing(self._engine) as connection:
                numbers = feeding.feed(connection, batch.id, share)
            self._make_room(waiting + len(numbers) - self._window, is_urgent=is_urgent)
            if numbers:
                self._queue.insert(batch.id, numbers, among=sharing - 1, is_urgent=is_urgent)
            fed += len(numbers)
        return fed

    def _make_room(self, count: int, *, is_urgent: bool) -> None:
        """Take the last ``count`` messages off the queue; their rows are pending again."""
        if count <= 0:
            return
        rows: dict[str, list[int]] = {}
        for batch_id, number in self._queue.take_back(count, is_urgent=is_urgent):
            rows.setdefault(batch_id, []).append(number)
        for batch_id, numbers in rows.items():
            with writing(self._engine) as connection:
                feeding.put_back(connection, batch_id, numbers, by=self._id)

    def _fill(self, live: Sequence[str], *, is_urgent: bool) -> int:
        room = self._window - self._queue.waiting(is_urgent=is_urgent)
        fed = 0
        while live and fed < room:
            share = max(1, (room - fed) // len(live))
            took_all = []
            for batch_id in live:
                wanted = min(share, room - fed)
                got = self._feed_one(batch_id, wanted, is_urgent=is_urgent)
                fed += got
                if got == wanted:
                    took_all.append(batch_id)
            live = took_all  # who had less than its share leaves the rest to the others
        return fed

    def _feed_one(self, batch_id: str, limit: int, *, is_urgent: bool) -> int:
        fed = 0
        while fed < limit:
            chunk = min(FEED_CHUNK, limit - fed)
            with writing(self._engine) as connection:
                numbers = feeding.feed(connection, batch_id, chunk)
            self._queue.push(batch_id, numbers, is_urgent=is_urgent)
            fed += len(numbers)
            if len(numbers) < chunk:
                break
        return fed

    def repair(
        self, only: str | None = None, *, thorough: bool = True, patient: bool = False
    ) -> int:
        """Put back lost rows and close ended batches: see `Repairs.repair`."""
        return self._repairs.repair(only, thorough=thorough, patient=patient)

    def close(self, batch_id: str) -> None:
        """Mark the batch as ended if it has: see `Repairs.close`."""
        self._repairs.close(batch_id)

    def sweep(self, batch_id: str) -> int:
        """Settle a batch that does not run: see `Repairs.sweep`."""
        return self._repairs.sweep(batch_id)
