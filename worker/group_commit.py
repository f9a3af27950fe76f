"""The transaction of a group of requests, repeated while the ledger is away.

A transaction that the ledger refuses is halved until the request stands alone that it refuses: the
others' answers are paid for. A result that is refused fails its row.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery.exceptions import Reject

from rowfleet.ledger.engine import Connection, Engine, try_to_write, waiting_briefly, writing
from rowfleet.ledger.ledger_errors import LedgerDenied, LedgerLacksSchema, LedgerUnavailable
from rowfleet.ledger.patience import Absence
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.statuses import RowStatus
from rowfleet.ledger.transitions import claiming, settling, stopping
from worker.assignment import Assignment, Refused, ResultRefused
from worker.claims import Claims
from worker.running_rows import RunningRows
from worker.slot_requests import Request, SlotRequests

log = logging.getLogger(__name__)

#: Seconds between tries while the ledger is away, at first and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

#: A transaction that takes more than this part of a lease is done again before a slot begins a row
#: that it claimed. Leases are renewed four times in their length.
LATE = 0.75

#: Seconds for which the ledger must have taken this process's writes before it takes another's row
#: over. A holder whose writes were refused, too, renews its leases when its own pause is over.
PATIENCE = 2 * LONGEST_PAUSE

#: A gap between two writes that is longer than this part of a lease counts as an absence of the
#: ledger. Each process writes four times in a lease; for a lease to run out while its holder lives,
#: no writes must go through for three quarters of it.
ABSENCE = 0.5

#: Seconds to wait for a row that another program's transaction holds, at most.
LOCK_TIMEOUT = 2.0


#: Errors of a ledger that would refuse any request now.
_TAKES_NOTHING_NOW = (LedgerUnavailable, LedgerLacksSchema, LedgerDenied)


class _TransactionRefused(Exception):
    """The ledger is there and does not take what a transaction says. Nothing of it is written."""

    def __init__(self, error: Exception, *, again: bool) -> None:
        super().__init__(getattr(error, "kind", type(error).__name__))
        self.error = error
        #: Whether an earlier try may have been committed.
        self.again = again


class GroupCommit:
    """Commits groups of one process's requests, answers them, and renews its leases."""

    def __init__(
        self,
        engine: Engine,
        requests: SlotRequests,
        running: RunningRows,
        *,
        holder: str,
        worker: str,
        lease: float,
        is_ending: Callable[[], bool],
    ) -> None:
        """``requests`` and ``running`` change with each commit.

        ``holder`` has the leases, each of ``lease`` seconds; ``worker`` is Celery's node name.
        ``is_ending`` tells whether the process shall end: then rows are begun no more that would
        have to wait for the ledger.
        """
        self._engine = waiting_briefly(engine, min(LOCK_TIMEOUT, lease / 4))
        self._requests = requests
        self._running = running
        self._claims = Claims(running, holder=holder, worker=worker, lease=lease)
        self._holder = holder
        self._lease = lease
        self._is_ending = is_ending
        #: When the ledger was last reached, and when the leases must be renewed: monotonic seconds.
        self.reached_at, self.renew_at = time.monotonic(), 0.0
        self._written_at = -math.inf
        self._steady_since = math.inf

    def commit(
        self, group: list[Request], overdue: Sequence[Outcome], *, again: bool = False
    ) -> None:
        """Do all of ``group``: in one transaction, or halved until a refused one stands alone.

        ``overdue`` are the ends of rows whose slots are lost. ``again``: an earlier try of the
        same may have been committed.
        """
        try:
            self._transact(group, overdue, again=again)
        except _TransactionRefused as refusal:
            log.warning("the ledger refused a transaction of %d requests (%s)", len(group), refusal)
            match group:
                case [alone]:
                    self._refuse(alone, refusal)
                    return
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                if half:
                    self.commit(half, [], again=refusal.again)
            if not group:  # leases and slots that are lost: nothing here is from outside
                self.renew_at = time.monotonic() + LONGEST_PAUSE

    def pause_renewals(self) -> None:
        """Try no renewal for FIRST_PAUSE, after a mistake of this program."""
        self.renew_at = max(self.renew_at, time.monotonic() + FIRST_PAUSE)

    def _refuse(self, request: Request, refusal: _TransactionRefused) -> None:
        """Answer a request that the ledger does not take."""
        match request.kind:
            case "claim":
                refused = Refused(f"the ledger refuses to give it out ({refusal})")
                self._requests.answer(request, refused)
            case "settle":
                self._fail(request, refusal)
            case _:
                log.error("the ledger refused to stop batch %s", request.what[0])
                self._requests.answer(request, None)

    def _fail(self, request: Request, refusal: _TransactionRefused) -> None:
        """Let a row fail whose result is refused, with as much of what it cost as is taken."""
        refused: Outcome = request.what
        why = f"the ledger did not take its result ({refusal})"
        spent = refused.spent
        for counted in (spent, Spent(calls=spent.calls), Spent()):
            failed = Outcome(
                refused.key, refused.attempts, RowStatus.FAILED, error=why, brief=why, spent=counted
            )
            attempt = Request("settle", failed)
            try:
                self._transact([attempt], [], again=refusal.again)
            except _TransactionRefused as another:
                refusal = another
                continue
            if attempt.future.result():
                self._requests.fail(request, ResultRefused(why))
            else:
                self._requests.answer(request, False)
            return
        # Not the row's fault. No slot here runs it any more, so its lease must run out.
        log.error("the ledger takes no end of %s", self._running.name_of(refused.key))
        self._running.forget(refused.key)
        self._requests.fail(request, refusal.error)

    def _transact(self, group: list[Request], overdue: Sequence[Outcome], *, again: bool) -> None:
        """Do all of ``group`` in one transaction; try again for as long as the ledger is away.

        Raises _TransactionRefused, with nothing done, if the ledger does not take it.
        """
        absence = Absence(log, pause=FIRST_PAUSE, longest=LONGEST_PAUSE)
        while True:
            began = time.monotonic()
            results: list[Any] = []
            try:
                self._renew_when_due()
                if group or overdue:
                    with writing(self._engine) as connection:
                        results = self._work(connection, group, overdue, again=again)
            except _TAKES_NOTHING_NOW as error:
                pause, again = absence.goes_on(error), True
                self._written_at = -math.inf
                # Leases are renewed in time where only the requests' transaction has to wait.
                time.sleep(min(pause, self._lease / 4))
                if self._is_ending():
                    away = Reject("the ledger is away and the worker ends", requeue=True)
                    group[:] = self._requests.refuse_claims(group, away)
                continue
            except Exception as error:
                raise _TransactionRefused(error, again=again) from error
            self.reached_at = time.monotonic()
            if absence.ends():
                log.warning("the ledger answers again")
            if self.reached_at - began > LATE * self._lease:
                # The answer stood still, or this process did: the rows may be another's by now.
                again = True
                continue
            self._confirm(group, results)
            self._running.lose_slots(overdue)
            return

    def _renew_when_due(self) -> None:
        """Renew the leases in a transaction of their own: no result that waits holds them up.

        A process without rows writes, too. So it knows whether those with rows could renew them.
        """
        if time.monotonic() < self.renew_at:
            return
        with writing(self._engine) as connection:
            try_to_write(connection)
            claiming.renew(connection, self._running.keys(), holder=self._holder, lease=self._lease)
            self._running.call_off(connection)
        now = time.monotonic()
        if now - self._written_at > ABSENCE * self._lease:
            self._steady_since = now
        self._written_at = now
        self.renew_at = now + self._lease / 4

    def _is_steady(self) -> bool:
        """Tell whether the ledger has taken this process's writes for as long as PATIENCE."""
        now = time.monotonic()
        is_absent = now - self._written_at > ABSENCE * self._lease
        return not is_absent and now - self._steady_since >= PATIENCE

    def _work(
        self,
        connection: Connection,
        group: Sequence[Request],
        overdue: Sequence[Outcome],
        *,
        again: bool,
    ) -> list[Any]:
        """Do what ``group`` asks for in this transaction, and return an answer for each request."""
        outcomes = [r.what for r in group if r.kind == "settle"]
        settled = settling.settle(connection, [*outcomes, *overdue], holder=self._holder)
        for request in group:
            if request.kind == "stop":
                stopping.stop(connection, *request.what)
        keys = [r.what for r in group if r.kind == "claim"]
        take_over = not again and self._is_steady()
        claimed = iter(self._claims.claim(connection, keys, take_over=take_over))
        results: list[Any] = []
        for request in group:
            match request.kind:
                case "claim":
                    results.append(next(claimed))
                case "settle":
                    results.append(
                        request.what.key in settled
                        or (
                            again
                            and settling.settled_before(
                                connection, request.what, holder=self._holder
                            )
                        )
                    )
                case _:
                    results.append(None)
        return results

    def _confirm(self, group: Sequence[Request], results: Sequence[Any]) -> None:
        """After the commit: remember the running rows, and answer the slots."""
        for request, result in zip(group, results, strict=True):
            if isinstance(result, Assignment):
                self._running.add(result)
            elif request.kind == "settle":
                self._running.forget(request.what.key)
            self._requests.answer(request, result)
