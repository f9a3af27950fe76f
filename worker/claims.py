"""Claims: which of the rows that slots ask for this process runs, and why not the rest."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rowfleet.ledger.document_records import RowsDocument
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import document_facts, fleet, rows
from rowfleet.ledger.records import Claimed, Key, RowState
from rowfleet.ledger.statuses import HELD, RowStatus
from rowfleet.ledger.transitions import claiming, stopping
from worker.assignment import Assignment, Refused
from worker.batch_cache import BatchCache, NotUnderstood
from worker.running_rows import RunningRows

#: Seconds, least and most, until a row asks again for the turn at its last try. Spread, so that
#: rows that lost their workers together do not ask together.
TURN_PAUSE = (1.0, 5.0)

#: Seconds, least and most, until a row is tried again whose recipe this worker does not understand.
#: Long enough that a window of such rows is no load, short enough for a rolling upgrade.
UPGRADE_PAUSE = (60.0, 300.0)

#: Seconds after which a batch is stopped that no worker understands: an upgrade is over by then.
UPGRADED_WITHIN = 3600


class Claims:
    """Claims rows for the slots of one process, each call within the caller's transaction."""

    def __init__(self, running: RunningRows, *, holder: str, worker: str, lease: float) -> None:
        """``holder`` claims for ``lease`` seconds; ``worker`` is the node that the ledger names."""
        self._running = running
        self._holder = holder
        self._worker = worker
        self._lease = lease
        self._batches = BatchCache()

    def claim(
        self, connection: Connection, keys: Sequence[Key], *, take_over: bool
    ) -> list[Assignment | Refused]:
        """Claim each row of ``keys`` that may be run, and answer for each key in order.

        A row that runs in this process is not claimed again. ``take_over``: another process's rows
        may be taken whose lease ran out.
        """
        wanted = [key for key in keys if key not in self._running]
        claimed: dict[Key, Claimed] = {}
        if wanted:
            claimed = claiming.claim(
                connection,
                wanted,
                holder=self._holder,
                worker=self._worker,
                lease=self._lease,
                take_over=take_over,
            )
        postponed = self._postpone_last_tries(connection, claimed)
        return [self._assigned(connection, key, claimed, postponed) for key in keys]

    def _postpone_last_tries(self, connection: Connection, claimed: dict[Key, Claimed]) -> set[Key]:
        """Take all rows out of ``claimed`` that have one try left, but for one in this process.

        Rows that shared a worker with the one that killed it have lost as many workers as that
        one. Tried together once more, they would all fail with it.
        """
        last_tries = [key for key, row in claimed.items() if row.has_one_try_left]
        postponed = last_tries if self._running.has_last_try() else last_tries[1:]
        for key in postponed:
            del claimed[key]
            delay = random.uniform(*TURN_PAUSE)  # noqa: S311 (not a secret)
            claiming.postpone(connection, key, holder=self._holder, delay=delay)
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
            except NotUnderstood as problem:
                return self._leave_to_newer(connection, key, str(problem))
        if key in postponed:
            return _refused(connection, key, "its last try waits until no other last try runs here")
        return _refused(connection, key)

    def _assignment(self, connection: Connection, row: Claimed) -> Assignment:
        batch = self._batches.get(connection, row.key[0])
        duplicates: list[int] = []
        if row.identity is not None and batch.kind.compares_rows:
            duplicates = rows.earlier_duplicates(connection, row.key[0], row.identity, row.key[1])
        documents: list[RowsDocument] = []
        if batch.recipe.documents is not None:
            documents = document_facts.of_row(connection, *row.key)
        return Assignment(row, batch, duplicates, documents=documents)

    def _leave_to_newer(self, connection: Connection, key: Key, unknown: str) -> Refused:
        """Put a row off whose recipe only a newer worker understands.

        It is not tried, so it loses no try. If no worker got a row of its batch to an end for
        UPGRADED_WITHIN, there is no newer worker: then the batch is stopped, which
        submitting again mends.
        """
        delay = random.uniform(*UPGRADE_PAUSE)  # noqa: S311 (not a secret)
        claiming.postpone(connection, key, holder=self._holder, delay=delay)
        if fleet.is_idle(connection, key[0], UPGRADED_WITHIN):
            why = (
                f"no worker understands its recipe, which has {unknown}; upgrade the workers, then "
                "submit the same again"
            )
            stopping.stop(connection, key[0], why)
        return _refused(connection, key, "its recipe is one for newer workers")


def _refused(connection: Connection, key: Key, why: str | None = None) -> Refused:
    """Return the refusal of a row that was not claimed; its state says why unless ``why`` does."""
    state = rows.row_state(connection, *key)
    if state is None:
        return Refused("not in the ledger")
    return Refused(why or _why(state), state.sheet_row)


def _why(state: RowState) -> str:
    if state.batch_status in HELD:
        return f"its batch is {state.batch_status}"
    if state.status == RowStatus.PENDING:  # a claim takes it, unless it can't be paid for
        return "what is left of its batch's budget is set aside for rows that run"
    if state.status == RowStatus.WAITING:
        return "documents that it names are not read yet"
    is_running = state.status == RowStatus.RUNNING
    return "another worker runs it" if is_running else f"it is {state.status} already"
