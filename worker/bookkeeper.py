"""The worker's one hand on the ledger: claims, results and leases, in grouped transactions.

Slots ask and wait; one thread per process writes. While a transaction commits, the next requests
gather, so a busy process commits a few times a second and needs one connection. If the ledger is
away the slots wait, and with them the fetching: nothing piles up, and no result is acknowledged
that is not saved.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import Reject
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger import queries, transitions
from rowfleet.ledger.engine import is_unavailable, lacks_schema, unreachable
from rowfleet.ledger.queries import BatchRecord
from rowfleet.ledger.transitions import Claimed, Key, Outcome
from rowfleet.prices import Price
from rowfleet.recipe import Recipe
from rowfleet.stopwatch import Stopwatch

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

#: A transaction that takes more than this part of a lease is done again before anybody begins a row
#: that it claimed. Leases are renewed four times in their length.
LATE = 0.75

#: Seconds after the ledger was away in which no other's row is taken over: that one was away from
#: it, too, and renews its leases when its own pause is over.
PATIENCE = 2 * LONGEST_PAUSE

#: Seconds, least and most, until a row asks again for the turn at its last try. Spread, so that
#: rows that lost their workers together do not ask together.
TURN_PAUSE = (1.0, 5.0)


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What a worker needs to know of a row's batch."""

    record: BatchRecord
    recipe: Recipe
    #: The model's price, where a user gave one.
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A claimed row with all that its question needs."""

    row: Claimed
    batch: BatchInfo
    duplicate_of: Sequence[int]
    #: What its time limit is measured by; whoever runs the row stops it while that waits.
    clock: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not to be run, and why: it has ended, somebody has it, its batch stands."""

    why: str


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
        self._engine = engine
        self._worker = worker
        self._lease = lease
        self._time_limit = time_limit
        self._on_stuck = on_stuck
        self._is_ending = is_ending
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._batches: dict[str, BatchInfo] = {}
        self._running: dict[Key, tuple[int, Stopwatch]] = {}
        self._stuck: set[Key] = set()
        self._last_try: Key | None = None
        self._reached_at = time.monotonic()
        self._patient_until = self._renew_at = 0.0
        self._began_at = 0.0
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)
        self._thread.start()

    def claim(self, key: Key) -> Assignment | Refused:
        """Claim a row for this process; waits while the ledger is away.

        Raises Celery's Reject if the process shall end meanwhile: the message goes to others.
        """
        result: Assignment | Refused = self._ask("claim", key)
        return result

    def settle(self, outcome: Outcome) -> bool:
        """Save how a row ended; waits while the ledger is away. Return whether it counted."""
        result: bool = self._ask("settle", outcome)
        return result

    def stop_batch(self, batch_id: str, reason: str) -> None:
        """Stop a batch that can't succeed."""
        self._ask("stop", (batch_id, reason))

    def running(self) -> int:
        """Return how many rows this process runs now, stuck ones not counted."""
        return len(self._running)

    def is_stuck(self) -> bool:
        """Tell whether a slot holds a row for longer than the hard time limit."""
        return bool(self._stuck)

    def away_for(self) -> float:
        """Return how many seconds ago the ledger was last reached."""
        return time.monotonic() - self._reached_at

    def _ask(self, kind: str, what: Any) -> Any:
        request = _Request(kind, what)
        self._requests.put(request)
        return request.future.result()

    def _run(self) -> None:
        while True:
            group = self._gather()
            try:
                self._persist(group)
            except Exception as error:
                log.exception("the ledger refused a transaction")
                for request in group:
                    if not request.future.done():
                        request.future.set_exception(error)

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

    def _persist(self, group: list[_Request]) -> None:
        """Do all of ``group`` in one transaction; try again for as long as the ledger is away."""
        pause, away, again = FIRST_PAUSE, False, False
        overdue = self._overdue()
        while True:
            began = time.monotonic()
            try:
                with self._engine.begin() as connection:
                    results = self._work(connection, group, overdue, again=again)
            except DBAPIError as error:
                if not (is_unavailable(error) or lacks_schema(error)):
                    raise
                if not away:
                    log.warning("%s; waiting, no row is lost", unreachable(self._engine, error))
                away = again = True
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                if self._is_ending():
                    group[:] = self._without_claims(group)
                continue
            self._reached_at = time.monotonic()
            if away:
                log.warning("the ledger answers again")
                self._patient_until = self._reached_at + PATIENCE
                away = False
            if self._reached_at - began > LATE * self._lease:
                # The answer stood still, or this process did: the rows may be another's by now.
                again = True
                continue
            self._confirm(group, results)
            self._lose_slots(overdue)
            return

    def _without_claims(self, group: list[_Request]) -> list[_Request]:
        """Send away who asks to begin a row. Results stay: they must be saved."""
        everything = group.copy()
        with suppress(queue.Empty):
            while True:
                everything.append(self._requests.get_nowait())
        for request in everything:
            if request.kind == "claim":
                away = "the ledger is away and the worker ends"
                request.future.set_exception(Reject(away, requeue=True))
        return [request for request in everything if request.kind != "claim"]

    def _work(
        self, connection: Connection, group: list[_Request], overdue: list[Outcome], *, again: bool
    ) -> list[Any]:
        if time.monotonic() >= self._renew_at:
            transitions.renew(
                connection, list(self._running), holder=self.holder, lease=self._lease
            )
            self._call_off(connection)
        outcomes = [r.what for r in group if r.kind == "settle"] + overdue
        settled = transitions.settle(connection, outcomes, holder=self.holder)
        for request in group:
            if request.kind == "stop":
                transitions.stop(connection, *request.what)
        keys = [r.what for r in group if r.kind == "claim" and r.what not in self._running]
        claimed: dict[Key, Claimed] = {}
        if keys:
            claimed = transitions.claim(
                connection,
                keys,
                holder=self.holder,
                worker=self._worker,
                lease=self._lease,
                take_over=not again and time.monotonic() >= self._patient_until,
            )
        postponed = self._postpone_last_tries(connection, claimed)
        results: list[Any] = []
        for request in group:
            match request.kind:
                case "claim":
                    results.append(self._answer(connection, request.what, claimed, postponed))
                case "settle":
                    results.append(
                        request.what.key in settled
                        or (
                            again
                            and transitions.settled_before(
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
        over = queries.called_off(connection, batch_ids) if batch_ids else set()
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
            transitions.postpone(connection, key, holder=self.holder, delay=delay)
        return set(postponed)

    def _answer(
        self,
        connection: Connection,
        key: Key,
        claimed: dict[Key, Claimed],
        postponed: set[Key],
    ) -> Assignment | Refused:
        row = claimed.pop(key, None)
        if row:
            return self._assignment(connection, row)
        if key in postponed:
            return Refused("its last try waits until no other last try runs here")
        return Refused(self._why(connection, key))

    def _confirm(self, group: list[_Request], results: list[Any]) -> None:
        """After the commit: remember what runs, and answer who asked."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + self._lease / 4
        for request, result in zip(group, results, strict=True):
            if isinstance(result, Assignment):
                self._running[result.row.key] = (result.row.attempts, result.clock)
                if result.row.has_one_try_left:
                    self._last_try = result.row.key
            elif request.kind == "settle":
                self._running.pop(request.what.key, None)
                self._stuck.discard(request.what.key)
                self._end_last_try(request.what.key)
            request.future.set_result(result)

    def _overdue(self) -> list[Outcome]:
        return [
            Outcome(
                key,
                attempts,
                "failed",  # tried again, it would cost one worker after the other its slot
                error=f"over the hard time limit of {self._time_limit:g} s",
                latency=seconds,
            )
            for key, (attempts, clock) in self._running.items()
            if (seconds := clock.seconds()) > self._time_limit
        ]

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
        if row.identity is not None and batch.record.analyzer == "rules":
            duplicates = queries.earlier_duplicates(
                connection, row.key[0], row.identity, row.key[1]
            )
        return Assignment(row, batch, duplicates)

    def _batch(self, connection: Connection, batch_id: str) -> BatchInfo:
        info = self._batches.get(batch_id)
        if info is None:
            record = queries.get_batch(connection, batch_id)
            price = None if record.price is None else Price.model_validate(record.price)
            info = BatchInfo(record, Recipe.model_validate(record.recipe), price)
            if len(self._batches) >= BATCHES_KEPT:
                self._batches.pop(next(iter(self._batches)))
            self._batches[batch_id] = info
        return info

    def _why(self, connection: Connection, key: Key) -> str:
        state = queries.row_state(connection, *key)
        if state is None:
            return "not in the ledger"
        row, batch = state
        if batch in ("stopped", "cancelled", "sampled", "budget_exhausted"):
            return f"its batch is {batch}"
        if row == "pending":  # a claim takes a pending row, unless it can't be paid for
            return "what is left of its batch's budget is set aside for rows that run"
        return {"running": "another worker runs it"}.get(row, f"it is {row} already")
