"""The requests of a process's slots to the ledger: put in a queue, gathered, answered.

A slot waits for the future of its request. The bookkeeper's thread gathers the requests in groups
and answers each one after the transaction of its group.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rowfleet.ledger.records import Outcome
from rowfleet.ledger.statuses import RowStatus
from worker.assignment import Assignment

#: Most requests in one transaction: some ten milliseconds of work.
GROUP = 200

#: Seconds between the starts of two transactions, at least: what is asked for meanwhile goes
#: together. A slot that is alone never waits for it.
APART = 0.02


@dataclass(slots=True)
class Request:
    """What one slot asks of the ledger."""

    #: "claim" with a Key, "settle" with an Outcome, or "stop" with (batch id, reason).
    kind: str
    what: Any
    future: Future[Any] = field(default_factory=Future)


class SlotRequests:
    """The requests of one process. All slots put them; one thread gathers them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._gathered_at = 0.0

    def put(self, kind: str, what: Any) -> Request:
        """Queue a request; its future gets the answer."""
        request = Request(kind, what)
        self._queue.put(request)
        return request

    def gather(self, until: float) -> list[Request]:
        """Return the next requests, GROUP at most; none if none comes ``until`` that moment.

        ``until``: on the clock of ``time.monotonic``.
        """
        group = []
        wait = max(0.0, until - time.monotonic())
        try:
            group.append(self._queue.get(timeout=wait))
            time.sleep(max(0.0, self._gathered_at + APART - time.monotonic()))
            while len(group) < GROUP:
                group.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        self._gathered_at = time.monotonic()
        return group

    def refuse_claims(self, group: Sequence[Request], error: Exception) -> list[Request]:
        """Raise ``error`` to the claims of ``group`` and of the queue. Return the other requests.

        Results stay: they must be saved.
        """
        everything = list(group)
        with suppress(queue.Empty):
            while True:
                everything.append(self._queue.get_nowait())
        for request in everything:
            if request.kind == "claim":
                self.fail(request, error)
        return [request for request in everything if request.kind != "claim"]

    def answer(self, request: Request, result: Any) -> None:
        """Answer the slot. A row that was claimed for a slot that waits no more is given back."""
        try:
            request.future.set_result(result)
        except InvalidStateError:
            self.give_back_unbegun(result)

    @staticmethod
    def fail(request: Request, error: Exception) -> None:
        """Raise ``error`` to the slot, if it still waits."""
        with suppress(InvalidStateError):
            request.future.set_exception(error)

    def give_back_unbegun(self, result: Any) -> None:
        """Ask to give back the row of a claim's ``result``, if it has one. Does not wait."""
        if isinstance(result, Assignment):
            row = result.row
            unbegun = Outcome(row.key, row.attempts, RowStatus.PENDING, counts=False, begun=False)
            self.put("settle", unbegun)
