"""Feeding: pending rows go to the queue up to its window, and rows that got lost come back.

The waiting submitter does this, and every worker: one of them at a time has the turn. So a batch
goes on when its submitter is gone, and a retry's delay is spent in the ledger, not in a worker.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence

from rowfleet.ledger.engine import Engine, looking, try_to_write, writing
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.queries.rows import (
    count_live,
    expired_rows,
    only_followers_are_left,
    queued_before,
)
from rowfleet.ledger.records import Standing
from rowfleet.ledger.transitions import claiming, feeding, finishing, in_chunks, settling
from rowfleet.queue.client import INSERT_MOST, Queue
from rowfleet.queue.keys import FEEDER
from rowfleet.rate_limits.cap import Cap

log = logging.getLogger(__name__)

#: Seconds the feeder keeps its turn after a step; another takes over when it dies.
TURN_SECONDS = 10.0

#: Seconds between looks for rows that got lost, by comparing counts.
REPAIR_INTERVAL = 3.0
#: Seconds for which the ledger must have taken a feeder's writes before the feeder takes a worker
#: for gone. A worker whose writes were refused, too, renews its leases within these.
PATIENCE = 10.0
#: Seconds between a feeder's tries to write, at least.
TRY_INTERVAL = 0.5
#: Seconds between looks into the messages themselves: a full window is 11 MB of them.
LOOK_INTERVAL = 60.0

#: Seconds a row must have been queued before a missing message counts as lost: its feeder may not
#: have pushed it yet.
QUEUED_GRACE = 5.0
#: Seconds between the two looks that must both find no message.
SECOND_LOOK = 1.0

#: Extra seconds before the autoscaler's wake-up; a live feeder always renews it sooner.
WORD_INTERVAL = 2 * REPAIR_INTERVAL

#: Rows moved to the queue in one transaction.
FEED_CHUNK = 1_000
#: Seconds for which one look sweeps a batch, well below TURN_SECONDS; the next look goes on.
SWEEP_SECONDS = 2.0


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
        self._written_at = self._steady_since = -math.inf

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

    def feed(self, only: str | None = None) -> int:
        """Fill the window from all live batches in equal shares, or from one. Return rows fed.

        Urgent batches have a list and a window of their own.
        """
        if self._cap is not None:
            self._cap.write()
        self._ledger_is_steady()
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
        """Put back rows whose worker or message is gone, and close batches that have ended.

        Batches that do not run any more are swept, and the rows of their dead workers put back.
        Safe at any time, by several at once: a row that is merely slow at worst gets a second
        message, which finds it taken. Without ``thorough`` the messages are only read when there
        are fewer of them than rows that should have one. If ``patient``, no worker is taken for
        gone before the ledger has taken this feeder's writes for a while. Return how many rows
        were put back.
        """
        with looking(self._engine) as connection:
            live = (
                [only]
                if only
                else [batch.id for batch in fleet.live_batches(connection, self._queue.name)]
            )
            waiting = queued_before(connection, live, QUEUED_GRACE)
            expected = count_live(connection, live)
        lost: dict[str, list[int]] = {}
        if waiting and (thorough or sum(self._queue.depth()) < expected):
            lost = self._without_message(waiting)
            if any(lost.values()):
                # On its way from list to hash a message is in neither for a moment.
                time.sleep(SECOND_LOOK)
                lost = self._without_message(lost)
        if thorough:
            self._queue.mend_notes()
        back = self._put_back(live, lost, patient=patient)
        with looking(self._engine) as connection:
            standings = fleet.standings(connection, live)
        for batch in standings:
            if only or _may_close(batch, thorough=thorough):
                self.close(batch.id, thorough=thorough)
        back += self.sweep(only, patient=patient)
        if back:
            log.warning("put back %d rows whose worker or message was lost", back)
        return back

    def _put_back(
        self, live: Sequence[str], lost: Mapping[str, Sequence[int]], *, patient: bool
    ) -> int:
        """Put back the rows without a message, and those of dead workers. Return how many."""
        back = 0
        for batch_id, numbers in lost.items():
            if numbers:
                with writing(self._engine) as connection:
                    back += feeding.put_back(connection, batch_id, numbers, by=self._id)
        with looking(self._engine) as connection:
            expired = expired_rows(connection, live, self._redelivery)
        for batch_id in sorted(expired):
            if not patient or self._ledger_is_steady():
                with writing(self._engine) as connection:
                    back += claiming.expire(
                        connection, batch_id, grace=self._redelivery, by=self._id
                    )
        return back

    def close(self, batch_id: str, *, thorough: bool = False) -> None:
        """Mark the batch as ended if it has. Only the ledger is asked: the broker may be away.

        ``thorough``: look for rows without the answer of the row they follow although others run.
        """
        self._settle_followers(batch_id, thorough=thorough)
        with writing(self._engine) as connection:
            if not finishing.finish_batch(connection, batch_id):
                finishing.finish_sample(connection, batch_id)
                finishing.exhaust(connection, batch_id, by=self._id)

    def sweep(self, only: str | None = None, *, patient: bool = True) -> int:
        """Settle batches that do not run, or one. Only the ledger is asked: the broker may be away.

        ``patient``: as in `repair`. Return how many rows of dead workers were put back.
        """
        with looking(self._engine) as connection:
            left = [only] if only else fleet.unsettled_batches(connection, self._queue.name)
        back = 0
        for batch_id in left:
            in_chunks.sweep(self._engine, batch_id, by=self._id, seconds=SWEEP_SECONDS)
            may_expire = not patient or self._ledger_is_steady()
            with writing(self._engine) as connection:
                if may_expire:
                    back += claiming.expire(
                        connection, batch_id, grace=self._redelivery, by=self._id
                    )
                finishing.finish_batch(connection, batch_id)
        return back

    def _ledger_is_steady(self) -> bool:
        """Try to write, and tell whether the ledger has taken writes for as long as PATIENCE.

        Reads prove nothing: a database that only reads lets the leases of all workers run out.
        For a row to be expired that takes longer than ``redelivery``, so a gap of that length
        between two writes counts as an absence, and so does a write that is refused. Each write is
        noted, and not each step: a step over many batches may take longer. Raises LedgerError.
        """
        now = time.monotonic()
        if now - self._written_at >= TRY_INTERVAL:
            before, self._written_at = self._written_at, -math.inf
            with writing(self._engine) as connection:
                try_to_write(connection)
            self._written_at = now = time.monotonic()
            if now - before > self._redelivery:
                self._steady_since = now
        return now - self._steady_since >= PATIENCE

    def _settle_followers(self, batch_id: str, *, thorough: bool) -> None:
        """Give rows that are the same as another its end, where that was not done with it."""
        with looking(self._engine) as connection:
            due = thorough or only_followers_are_left(connection, batch_id)
        while due:
            with writing(self._engine) as connection:
                moved = settling.settle_followers(connection, batch_id, by=self._id)
            due = moved == settling.MOST_FOLLOWERS

    def _without_message(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        present = self._queue.present()
        return {
            batch_id: [number for number in numbers if (batch_id, number) not in present]
            for batch_id, numbers in rows.items()
        }


def _may_close(batch: Standing, *, thorough: bool) -> bool:
    """Tell whether the batch, or rows of it that follow another, may have to be ended."""
    if batch.has_followers and (thorough or batch.leads_nothing):
        return True
    return batch.status == "running" and (
        batch.leads_nothing or batch.has_sample or batch.has_budget
    )
