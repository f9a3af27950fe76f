"""Feeding documents: those that rows wait for go to their queue, and the rows are told of the end.

It runs within a feeder's turn. A ledger without documents costs it one statement.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from rowfleet.feeding.steadiness import Steadiness
from rowfleet.ledger.engine import Engine, looking, writing
from rowfleet.ledger.queries import document_facts
from rowfleet.ledger.transitions.documents import extracting, releasing, wanting
from rowfleet.queue.client import Queue
from rowfleet.queue.message import NO_ROW

log = logging.getLogger(__name__)

#: Documents on the queue at once: reading one takes milliseconds to minutes, so that the extractors
#: of a large fleet do not run dry between two steps.
WINDOW = 1_000
#: Documents moved in one transaction, and rows that are told of their end.
DOCUMENTS_AT_ONCE, ROWS_AT_ONCE = 1_000, 2_000

#: Seconds a document must have been queued before a missing message counts as lost: its feeder may
#: not have pushed it yet.
QUEUED_GRACE = 5.0
#: Seconds between the two looks that must both find no message.
SECOND_LOOK = 1.0
#: Seconds for which one step tells rows of the end of their documents, well below the turn.
RELEASE_SECONDS = 2.0


class DocumentFeeder:
    """Keeps the documents' queue fed from the ledger. One per feeder, for its queue of rows."""

    def __init__(
        self,
        engine: Engine,
        rows_queue: Queue,
        steadiness: Steadiness,
        *,
        redelivery: float,
        by: str,
        window: int = WINDOW,
    ) -> None:
        """``redelivery``: seconds until a dead extractor's message is delivered again, above zero.

        ``by`` names the process in the ledger.
        """
        self._engine = engine
        self._rows_queue = rows_queue.name
        self._queue = rows_queue.of_documents()
        self._steadiness = steadiness
        self._redelivery = redelivery
        self._by = by
        self._window = window
        self._left_word = True

    def has_work(self) -> bool:
        """Tell whether there are documents to look after."""
        with looking(self._engine) as connection:
            return document_facts.anything_to_do(connection, self._rows_queue)

    def step(self) -> None:
        """Tell rows whose documents have ended, and fill the documents' window."""
        if self.has_work():
            self.release()
            self.feed()

    def release(self) -> int:
        """Let rows become due whose documents have ended. Return how many did."""
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < RELEASE_SECONDS:
            with writing(self._engine) as connection:
                released, is_more = releasing.release(connection, by=self._by, limit=ROWS_AT_ONCE)
            count += released
            if not is_more:
                break
        return count

    def feed(self) -> int:
        """Fill the window. Return how many documents were fed."""
        room = self._window - self._queue.waiting()
        fed = 0
        while fed < room:
            chunk = min(DOCUMENTS_AT_ONCE, room - fed)
            with writing(self._engine) as connection:
                ids = wanting.feed(connection, self._rows_queue, chunk)
            self._queue.push_all([(document_id, NO_ROW) for document_id in ids])
            fed += len(ids)
            if len(ids) < chunk:
                break
        return fed

    def repair(self, *, thorough: bool = True, patient: bool = False) -> int:
        """Put back documents whose extractor or message is gone; want those that rows wait for.

        Safe at any time, by several at once: a document that is merely slow at worst gets a second
        message, which finds it taken. ``thorough`` and ``patient``: as for rows. Return how many
        documents were put back.
        """
        if not self.has_work():
            return 0
        back = self._put_back_lost(thorough=thorough)
        if thorough:
            self._queue.mend_notes()
        if not patient or self._steadiness.check():
            with writing(self._engine) as connection:
                back += extracting.expire(
                    connection, grace=self._redelivery, limit=DOCUMENTS_AT_ONCE
                )
        self._want(thorough=thorough)
        if back:
            log.warning("put back %d documents whose extractor or message was lost", back)
        return back

    def _put_back_lost(self, *, thorough: bool) -> int:
        with looking(self._engine) as connection:
            queued = document_facts.queued_before(connection, self._rows_queue, QUEUED_GRACE)
            expected = document_facts.count_queued(connection, self._rows_queue)
        if not queued or not (thorough or sum(self._queue.depth()) < expected):
            return 0
        lost = self._without_message(queued)
        if lost:
            # On its way from list to hash a message is in neither for a moment.
            time.sleep(SECOND_LOOK)
            lost = self._without_message(lost)
        with writing(self._engine) as connection:
            return wanting.put_back(connection, lost)

    def _without_message(self, ids: Sequence[str]) -> list[str]:
        present = {document_id for document_id, _ in self._queue.present()}
        return [document_id for document_id in ids if document_id not in present]

    def _want(self, *, thorough: bool) -> None:
        """Let documents be wanted here that rows of this queue wait for and no extractor reads.

        A batch that was resumed has such, one whose sample has ended, and one whose documents were
        fed to the queue of a fleet that is gone.
        """
        with looking(self._engine) as connection:
            waiting = document_facts.waiting_batches(connection, self._rows_queue)
            on_its_way = document_facts.is_any_on_its_way(connection, self._rows_queue)
        if on_its_way and not thorough:
            return
        for batch_id, sample in waiting:
            wanted = DOCUMENTS_AT_ONCE
            while wanted == DOCUMENTS_AT_ONCE:
                with writing(self._engine) as connection:
                    wanted = wanting.want(
                        connection,
                        batch_id,
                        self._rows_queue,
                        sample=sample,
                        limit=DOCUMENTS_AT_ONCE,
                    )

    def leave_word(self, margin: float) -> None:
        """Tell the autoscaler when an extractor is needed, in case none runs then.

        ``margin``: seconds beyond the moment itself. A live feeder renews it sooner.
        """
        with looking(self._engine) as connection:
            seconds = document_facts.seconds_to_next(connection, self._rows_queue, self._redelivery)
        if seconds is not None or self._left_word:
            self._queue.wake_in(None if seconds is None else max(0.0, seconds) + margin)
        self._left_word = seconds is not None
