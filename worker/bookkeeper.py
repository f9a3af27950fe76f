"""The worker's one hand on the ledger: claims, results and leases, in grouped transactions.

Slots ask and wait; one thread per process writes. While a transaction commits, the next requests
gather, so a busy process commits a few times a second and needs one connection. If the ledger is
away the slots wait, and with them the fetching: nothing piles up, and no result is acknowledged
that is not saved.

A transaction that the ledger refuses is halved until the request stands alone that it refuses: the
others' answers are paid for. A result that is refused fails its row.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import Reject
from pydantic import ValidationError

from rowfleet import analyzer_kinds
from rowfleet.errors import InputError
from rowfleet.ledger.engine import (
    Connection,
    Engine,
    try_to_write,
    waiting_briefly,
    writing,
)
from rowfleet.ledger.ledger_errors import LedgerDenied, LedgerLacksSchema, LedgerUnavailable
from rowfleet.ledger.patience import Absence
from rowfleet.ledger.queries import batch_records, fleet, rows
from rowfleet.ledger.records import BatchRecord, Claimed, Key, Outcome, Spent
from rowfleet.ledger.statuses import HELD
from rowfleet.ledger.transitions import claiming, settling, stopping
from rowfleet.prices import Price
from rowfleet.queue.keys import is_key
from rowfleet.recipes.recipe import Recipe
from rowfleet.stopwatch import Stopwatch
from worker.assignment import Assignment, BatchInfo, Refused, ResultRefused

log = logging.getLogger(__name__)

#: Most requests in one transaction: some ten milliseconds of work.
GROUP = 200

#: Seconds between the starts of two transactions, at least: what is asked for meanwhile goes
#: together. A slot that is alone never waits for it.
APART = 0.02

#: Batches whose recipe is kept at hand.
BATCHES_KEPT = 64

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

#: Seconds, least and most, until a row asks again for the turn at its last try. Spread, so that
#: rows that lost their workers together do not ask together.
TURN_PAUSE = (1.0, 5.0)

#: Seconds, least and most, until a row is tried again whose recipe this worker does not understand.
#: Long enough that a window of such rows is no load, short enough for a rolling upgrade.
UPGRADE_PAUSE = (60.0, 300.0)

#: Seconds after which a batch is stopped that no worker understands: an upgrade is over by then.
UPGRADED_WITHIN = 3600


#: Errors of a ledger that would refuse any request now.
_TAKES_NOTHING_NOW = (LedgerUnavailable, LedgerLacksSchema, LedgerDenied)


class _NotUnderstood(Exception):
    """A batch that was recorded by a newer version. Its text says what this one does not know."""


class _TransactionRefused(Exception):
    """The ledger is there and does not take what a transaction says. Nothing of it is written."""

    def __init__(self, error: Exception, *, again: bool) -> None:
        super().__init__(getattr(error, "kind", type(error).__name__))
        self.error = error
        #: Whether an earlier try may have been committed.
        self.again = again


@dataclass(slots=True)
class _Request:
    #: "claim" with a Key, "settle" with an Outcome, or "stop" with (batch id, reason).
    kind: str
    what: Any
    future: Future[Any] = field(default_factory=Future)


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
        self._engine = waiting_briefly(engine, min(LOCK_TIMEOUT, lease / 4))
        self._worker = worker
        self._lease = lease
        self._time_limit = time_limit
        self._on_stuck = on_stuck
        self._is_ending = is_ending
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._batches: dict[str, BatchInfo] = {}
        self._not_understood: dict[str, str] = {}
        self._running: dict[Key, tuple[int, Stopwatch]] = {}
        self._stuck: set[Key] = set()
        self._last_try: Key | None = None
        self._reached_at = time.monotonic()
        self._written_at = -math.inf
        self._steady_since = math.inf
        self._renew_at = 0.0
        self._began_at = 0.0
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)
        self._thread.start()

    def claim(self, key: Key) -> Assignment | Refused:
        """Claim a row for this process; waits while the ledger is away.

        Raises Celery's Reject if the process shall end meanwhile: the message goes to others. A
        row that is claimed for a caller that was interrupted meanwhile is given back.
        """
        if not is_key(key):
            return Refused("its message names no row")
        request = self._put("claim", key)
        try:
            result: Assignment | Refused = request.future.result()
        except BaseException:
            if not request.future.cancel() and request.future.exception() is None:
                self._give_back_unbegun(request.future.result())
            raise
        return result

    def settle(self, outcome: Outcome) -> bool:
        """Save how a row ended; waits while the ledger is away. Return whether it counted.

        Raises ResultRefused if the ledger does not take that: the row has failed then. What else
        the ledger itself raises says that it takes nothing of this row; its lease runs out.
        """
        request = self._put("settle", outcome)
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
        self._put("settle", Outcome(row.key, row.attempts, "pending", counts=False))

    def stop_batch(self, batch_id: str, reason: str) -> None:
        """Stop a batch that can't succeed."""
        self._put("stop", (batch_id, reason)).future.result()

    def running(self) -> int:
        """Return how many rows this process runs now, stuck ones not counted."""
        return len(self._running)

    def is_stuck(self) -> bool:
        """Tell whether a slot holds a row for longer than the hard time limit."""
        return bool(self._stuck)

    def away_for(self) -> float:
        """Return how many seconds ago the ledger was last reached."""
        return time.monotonic() - self._reached_at

    def _put(self, kind: str, what: Any) -> _Request:
        request = _Request(kind, what)
        self._requests.put(request)
        return request

    def _run(self) -> None:
        while True:
            group = self._gather()
            try:
                self._persist(group, self._overdue())
            except Exception as error:  # a mistake of ours: the waiting slots must learn of it
                log.exception("requests to the ledger failed")
                for request in group:
                    self._raise(request, error)
                self._renew_at = max(self._renew_at, time.monotonic() + FIRST_PAUSE)

    def _gather(self) -> list[_Request]:
        """Return what has been asked for; empty when it is time to renew the leases."""
        group = []
        wait = max(0.0, self._renew_at - time.monotonic())
        try:
            group.append(self._requests.get(timeout=wait))
            time.sleep(max(0.0, self._began_at + APART - time.monotonic()))
            while len(group) < GROUP:
                group.append(self._requests.get_nowait())
        except queue.Empty:
            pass
        self._began_at = time.monotonic()
        return group

    def _persist(
        self, group: list[_Request], overdue: list[Outcome], *, again: bool = False
    ) -> None:
        """Do all of ``group``: in one transaction, or halved until a refused one stands alone."""
        try:
            self._transact(group, overdue, again=again)
        except _TransactionRefused as refusal:
            log.warning("the ledger refused a transaction of %d requests (%s)", len(group), refusal)
            if len(group) == 1:
                self._refuse(group[0], refusal)
                return
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                if half:
                    self._persist(half, [], again=refusal.again)
            if not group:  # leases and slots that are lost: nothing here is from outside
                self._renew_at = time.monotonic() + LONGEST_PAUSE

    def _refuse(self, request: _Request, refusal: _TransactionRefused) -> None:
        """Answer a request that the ledger does not take."""
        match request.kind:
            case "claim":
                self._answer(request, Refused(f"the ledger refuses to give it out ({refusal})"))
            case "settle":
                self._fail(request, refusal)
            case _:
                log.error("the ledger refused to stop batch %s", request.what[0])
                self._answer(request, None)

    def _fail(self, request: _Request, refusal: _TransactionRefused) -> None:
        """Let a row fail whose result is refused, with as much of what it cost as is taken."""
        refused: Outcome = request.what
        why = f"the ledger did not take its result ({refusal})"
        spent = refused.spent
        for counted in (spent, Spent(calls=spent.calls), Spent()):
            failed = Outcome(
                refused.key, refused.attempts, "failed", error=why, brief=why, spent=counted
            )
            attempt = _Request("settle", failed)
            try:
                self._transact([attempt], [], again=refusal.again)
            except _TransactionRefused as another:
                refusal = another
                continue
            if attempt.future.result():
                self._raise(request, ResultRefused(why))
            else:
                self._answer(request, False)
            return
        # Not the row's fault. No slot here runs it any more, so its lease must run out.
        log.error("the ledger takes no end of row %s of %s", refused.key[1], refused.key[0])
        self._forget(refused.key)
        self._raise(request, refusal.error)

    def _transact(
        self, group: list[_Request], overdue: list[Outcome], *, again: bool = False
    ) -> None:
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
                    group[:] = self._without_claims(group)
                continue
            except Exception as error:
                raise _TransactionRefused(error, again=again) from error
            self._reached_at = time.monotonic()
            if absence.ends():
                log.warning("the ledger answers again")
            if self._reached_at - began > LATE * self._lease:
                # The answer stood still, or this process did: the rows may be another's by now.
                again = True
                continue
            self._confirm(group, results)
            self._lose_slots(overdue)
            return

    def _without_claims(self, group: list[_Request]) -> list[_Request]:
        """Refuse requests to begin a row. Results stay: they must be saved."""
        everything = group.copy()
        with suppress(queue.Empty):
            while True:
                everything.append(self._requests.get_nowait())
        for request in everything:
            if request.kind == "claim":
                away = "the ledger is away and the worker ends"
                self._raise(request, Reject(away, requeue=True))
        return [request for request in everything if request.kind != "claim"]

    def _renew_when_due(self) -> None:
        """Renew the leases in a transaction of their own: no result that waits holds them up.

        A process without rows writes, too. So it knows whether those with rows could renew them.
        """
        if time.monotonic() < self._renew_at:
            return
        with writing(self._engine) as connection:
            try_to_write(connection)
            claiming.renew(connection, list(self._running), holder=self.holder, lease=self._lease)
            self._call_off(connection)
        now = time.monotonic()
        if now - self._written_at > ABSENCE * self._lease:
            self._steady_since = now
        self._written_at = now
        self._renew_at = now + self._lease / 4

    def _is_steady(self) -> bool:
        """Tell whether the ledger has taken this process's writes for as long as PATIENCE."""
        now = time.monotonic()
        is_absent = now - self._written_at > ABSENCE * self._lease
        return not is_absent and now - self._steady_since >= PATIENCE

    def _work(
        self, connection: Connection, group: list[_Request], overdue: list[Outcome], *, again: bool
    ) -> list[Any]:
        outcomes = [r.what for r in group if r.kind == "settle"] + overdue
        settled = settling.settle(connection, outcomes, holder=self.holder)
        for request in group:
            if request.kind == "stop":
                stopping.stop(connection, *request.what)
        keys = [r.what for r in group if r.kind == "claim" and r.what not in self._running]
        claimed: dict[Key, Claimed] = {}
        if keys:
            claimed = claiming.claim(
                connection,
                keys,
                holder=self.holder,
                worker=self._worker,
                lease=self._lease,
                take_over=not again and self._is_steady(),
            )
        postponed = self._postpone_last_tries(connection, claimed)
        results: list[Any] = []
        for request in group:
            match request.kind:
                case "claim":
                    results.append(self._assigned(connection, request.what, claimed, postponed))
                case "settle":
                    results.append(
                        request.what.key in settled
                        or (
                            again
                            and settling.settled_before(
                                connection, request.what, holder=self.holder
                            )
                        )
                    )
                case _:
                    results.append(None)
        return results

    def _call_off(self, connection: Connection) -> None:
        """Let rows of batches that have ended go, if they still wait for their turn."""
        batch_ids = {batch_id for batch_id, _ in self._running}
        over = batch_records.stopped_or_cancelled(connection, batch_ids) if batch_ids else set()
        for (batch_id, _), (_, clock) in self._running.items():
            if batch_id in over:
                clock.is_called_off = True

    def _postpone_last_tries(self, connection: Connection, claimed: dict[Key, Claimed]) -> set[Key]:
        """Take all rows out of ``claimed`` that have one try left, but for one in this process.

        Rows that shared a worker with the one that killed it have lost as many workers as that
        one. Tried together once more, they would all fail with it.
        """
        last_tries = [key for key, row in claimed.items() if row.has_one_try_left]
        postponed = last_tries[1:] if self._last_try is None else last_tries
        for key in postponed:
            del claimed[key]
            delay = random.uniform(*TURN_PAUSE)  # noqa: S311 (not a secret)
            claiming.postpone(connection, key, holder=self.holder, delay=delay)
        return set(postponed)

    def _assigned(
        self,
        connection: Connection,
        key: Key,
        claimed: dict[Key, Claimed],
        postponed: set[Key],
    ) -> Assignment | Refused:
        row = claimed.pop(key, None)
        if row:
            try:
                return self._assignment(connection, row)
            except _NotUnderstood as problem:
                return self._leave_to_newer(connection, key, str(problem))
        if key in postponed:
            return Refused("its last try waits until no other last try runs here")
        return Refused(self._why(connection, key))

    def _confirm(self, group: list[_Request], results: list[Any]) -> None:
        """After the commit: remember the running rows, and answer the slots."""
        for request, result in zip(group, results, strict=True):
            if isinstance(result, Assignment):
                self._running[result.row.key] = (result.row.attempts, result.clock)
                if result.row.has_one_try_left:
                    self._last_try = result.row.key
            elif request.kind == "settle":
                self._forget(request.what.key)
            self._answer(request, result)

    def _forget(self, key: Key) -> None:
        self._running.pop(key, None)
        self._stuck.discard(key)
        self._end_last_try(key)

    def _answer(self, request: _Request, result: Any) -> None:
        """Answer the slot. A row that was claimed for a slot that waits no more is given back."""
        try:
            request.future.set_result(result)
        except InvalidStateError:
            self._give_back_unbegun(result)

    @staticmethod
    def _raise(request: _Request, error: Exception) -> None:
        with suppress(InvalidStateError):
            request.future.set_exception(error)

    def _give_back_unbegun(self, result: Any) -> None:
        if isinstance(result, Assignment):
            row = result.row
            unbegun = Outcome(row.key, row.attempts, "pending", counts=False, begun=False)
            self._put("settle", unbegun)

    def _overdue(self) -> list[Outcome]:
        return [
            Outcome(
                key,
                attempts,
                "failed",  # tried again, it would cost one worker after the other its slot
                error=f"over the hard time limit of {self._time_limit:g} s",
                spent=self._perhaps_spent(key),
                latency=seconds,
            )
            for key, (attempts, clock) in self._running.items()
            if (seconds := clock.seconds()) > self._time_limit
        ]

    def _perhaps_spent(self, key: Key) -> Spent:
        """Return what a row's call may cost that never came back."""
        batch = self._batches.get(key[0])
        is_paid = batch is None or batch.kind.is_paid
        return Spent(possibly_billed=1 if is_paid else 0)

    def _lose_slots(self, overdue: list[Outcome]) -> None:
        late = [o.key for o in overdue if self._running.pop(o.key, None) is not None]
        for key in late:
            self._end_last_try(key)
            log.error("row %s of %s is over its hard time limit; its slot is lost", key[1], key[0])
        first = bool(late) and not self._stuck
        self._stuck.update(late)
        if first and self._on_stuck:
            self._on_stuck()

    def _end_last_try(self, key: Key) -> None:
        if self._last_try == key:
            self._last_try = None

    def _assignment(self, connection: Connection, row: Claimed) -> Assignment:
        batch = self._batch(connection, row.key[0])
        duplicates: list[int] = []
        if row.identity is not None and batch.kind.compares_rows:
            duplicates = rows.earlier_duplicates(connection, row.key[0], row.identity, row.key[1])
        return Assignment(row, batch, duplicates)

    def _batch(self, connection: Connection, batch_id: str) -> BatchInfo:
        info = self._batches.get(batch_id)
        if info is None:
            if batch_id in self._not_understood:
                raise _NotUnderstood(self._not_understood[batch_id])
            record = batch_records.get_batch(connection, batch_id)
            try:
                info = _understood(record)
            except _NotUnderstood as problem:
                log.warning(
                    "batch %s: this worker does not know %s; its rows wait for workers that do",
                    batch_id,
                    problem,
                )
                _keep(self._not_understood, batch_id, str(problem))
                raise
            _keep(self._batches, batch_id, info)
        return info

    def _leave_to_newer(self, connection: Connection, key: Key, unknown: str) -> Refused:
        """Put a row off whose recipe only a newer worker understands.

        It is not tried, so it loses no try. If no worker got a row of its batch to an end for
        UPGRADED_WITHIN, there is no newer worker: then the batch is stopped, which
        submitting again mends.
        """
        delay = random.uniform(*UPGRADE_PAUSE)  # noqa: S311 (not a secret)
        claiming.postpone(connection, key, holder=self.holder, delay=delay)
        if fleet.is_idle(connection, key[0], UPGRADED_WITHIN):
            why = (
                f"no worker understands its recipe, which has {unknown}; upgrade the workers, then "
                "submit the same again"
            )
            stopping.stop(connection, key[0], why)
        return Refused("its recipe is one for newer workers")

    def _why(self, connection: Connection, key: Key) -> str:
        state = rows.row_state(connection, *key)
        if state is None:
            return "not in the ledger"
        row, batch = state
        if batch in HELD:
            return f"its batch is {batch}"
        if row == "pending":  # a claim takes a pending row, unless it can't be paid for
            return "what is left of its batch's budget is set aside for rows that run"
        return {"running": "another worker runs it"}.get(row, f"it is {row} already")


def _understood(record: BatchRecord) -> BatchInfo:
    """Return what a batch's record says. Raises _NotUnderstood for one of a newer version."""
    try:
        analyzer_kinds.get(record.analyzer)
    except InputError as error:
        broken = f" ({error})" if analyzer_kinds.is_known(record.analyzer) else ""
        raise _NotUnderstood(f"the analyzer {record.analyzer!r}{broken}") from None
    try:
        price = None if record.price is None else Price.model_validate(record.price)
        return BatchInfo(record, Recipe.model_validate(record.recipe), price)
    except ValidationError as error:
        fields = {".".join(map(str, item["loc"])) or "its whole" for item in error.errors()}
        raise _NotUnderstood(", ".join(sorted(fields))[:200]) from None
    except RecursionError:
        raise _NotUnderstood("an output that refers to itself") from None


def _keep(kept: dict[str, Any], batch_id: str, what: Any) -> None:
    if len(kept) >= BATCHES_KEPT:
        kept.pop(next(iter(kept)))
    kept[batch_id] = what
