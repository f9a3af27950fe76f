"""Repair: rows come back that lost their worker or message, and ended batches are closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from rowfleet.feeding.steadiness import Steadiness
from rowfleet.ledger.engine import Engine, looking, writing
from rowfleet.ledger.feed_records import Standing
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.queries.rows import (
    count_live,
    expired_rows,
    only_followers_are_left,
    queued_before,
)
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import claiming, feeding, finishing, followers, in_chunks
from rowfleet.queue.client import Queue

log = logging.getLogger(__name__)

#: Seconds a row must have been queued before a missing message counts as lost: its feeder may not
#: have pushed it yet.
QUEUED_GRACE = 5.0
#: Seconds between the two looks that must both find no message.
SECOND_LOOK = 1.0

#: Seconds for which one look sweeps a batch, well below the feeder's turn; the next look goes on.
SWEEP_SECONDS = 2.0


class Repairs:
    """Repairs the batches of one queue. Safe at any time, by several at once."""

    def __init__(
        self,
        engine: Engine,
        queue: Queue,
        steadiness: Steadiness,
        *,
        redelivery: float,
        by: str,
    ) -> None:
        """``redelivery``: seconds until a dead worker's message is delivered again, above zero.

        ``by`` names the process in the ledger.
        """
        self._engine = engine
        self._queue = queue
        self._steadiness = steadiness
        self._redelivery = redelivery
        self._by = by

    def repair(self, only: str | None, *, thorough: bool, patient: bool) -> int:
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
                    back += feeding.put_back(connection, batch_id, numbers, by=self._by)
        with looking(self._engine) as connection:
            expired = expired_rows(connection, live, self._redelivery)
        for batch_id in sorted(expired):
            if not patient or self._steadiness.check():
                with writing(self._engine) as connection:
                    back += claiming.expire(
                        connection, batch_id, grace=self._redelivery, by=self._by
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
                finishing.exhaust(connection, batch_id, by=self._by)

    def sweep(self, only: str | None = None, *, patient: bool = True) -> int:
        """Settle batches that do not run, or one. Only the ledger is asked: the broker may be away.

        ``patient``: as in `repair`. Return how many rows of dead workers were put back.
        """
        with looking(self._engine) as connection:
            left = [only] if only else fleet.unsettled_batches(connection, self._queue.name)
        back = 0
        for batch_id in left:
            in_chunks.sweep(self._engine, batch_id, by=self._by, seconds=SWEEP_SECONDS)
            may_expire = not patient or self._steadiness.check()
            with writing(self._engine) as connection:
                if may_expire:
                    back += claiming.expire(
                        connection, batch_id, grace=self._redelivery, by=self._by
                    )
                finishing.finish_batch(connection, batch_id)
        return back

    def _settle_followers(self, batch_id: str, *, thorough: bool) -> None:
        """Give rows that are the same as another its end, where that was not done with it."""
        with looking(self._engine) as connection:
            due = thorough or only_followers_are_left(connection, batch_id)
        while due:
            with writing(self._engine) as connection:
                moved = followers.settle_followers(connection, batch_id, by=self._by)
            due = moved == followers.MOST_FOLLOWERS

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
    return batch.status == BatchStatus.RUNNING and (
        batch.leads_nothing or batch.has_sample or batch.has_budget
    )
