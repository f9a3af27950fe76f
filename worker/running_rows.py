"""The rows that a process runs, those that hold a slot for good, and the one at its last try."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.records import Key, Outcome, Spent
from rowfleet.ledger.statuses import RowStatus
from worker.assignment import Assignment

log = logging.getLogger(__name__)


class RunningRows:
    """The rows of one process's slots. Only the bookkeeper's thread changes them."""

    def __init__(self, time_limit: float, on_stuck: Callable[[], None] | None = None) -> None:
        """``time_limit`` is in seconds. ``on_stuck`` is called once if a row outlives it."""
        self._time_limit = time_limit
        self._on_stuck = on_stuck
        self._rows: dict[Key, Assignment] = {}
        self._stuck: set[Key] = set()
        self._last_try: Key | None = None

    def __len__(self) -> int:
        """Return how many rows run, stuck ones not counted."""
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def keys(self) -> list[Key]:
        """Return the keys of the rows that run, stuck ones left out."""
        return list(self._rows)

    def name_of(self, key: Key) -> str:
        """Return what logs call a row that runs or ran here."""
        assignment = self._rows.get(key)
        return f"a row of {key[0]}" if assignment is None else assignment.name

    def has_stuck(self) -> bool:
        """Tell whether a slot holds a row for longer than the time limit."""
        return bool(self._stuck)

    def has_last_try(self) -> bool:
        """Tell whether one of the rows is at its last try."""
        return self._last_try is not None

    def add(self, assignment: Assignment) -> None:
        """Remember a row whose claim is committed."""
        row = assignment.row
        self._rows[row.key] = assignment
        if row.has_one_try_left:
            self._last_try = row.key

    def forget(self, key: Key) -> None:
        """Forget a row that no slot runs any more."""
        self._rows.pop(key, None)
        self._stuck.discard(key)
        self._end_last_try(key)

    def call_off(self, connection: Connection) -> None:
        """Let rows of batches that have ended go, if they still wait for their turn."""
        batch_ids = {batch_id for batch_id, _ in self._rows}
        over = batch_records.stopped_or_cancelled(connection, batch_ids) if batch_ids else set()
        for (batch_id, _), assignment in self._rows.items():
            if batch_id in over:
                assignment.clock.is_called_off = True

    def overdue(self) -> list[Outcome]:
        """Return the ends of the rows that are over the time limit."""
        return [
            Outcome(
                key,
                assignment.row.attempts,
                RowStatus.FAILED,  # tried again, it would cost one worker after the other its slot
                error=f"over the hard time limit of {self._time_limit:g} s",
                # Its call never came back, and may cost something.
                spent=Spent(possibly_billed=1 if assignment.batch.kind.is_paid else 0),
                latency=seconds,
            )
            for key, assignment in self._rows.items()
            if (seconds := assignment.clock.seconds()) > self._time_limit
        ]

    def lose_slots(self, overdue: Sequence[Outcome]) -> None:
        """Give the slots of these rows up, once their ends are committed."""
        late = [o.key for o in overdue if o.key in self._rows]
        for key in late:
            log.error("%s is over its hard time limit; its slot is lost", self.name_of(key))
            del self._rows[key]
            self._end_last_try(key)
        first = bool(late) and not self._stuck
        self._stuck.update(late)
        if first and self._on_stuck:
            self._on_stuck()

    def _end_last_try(self, key: Key) -> None:
        if self._last_try == key:
            self._last_try = None
