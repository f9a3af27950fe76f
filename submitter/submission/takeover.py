"""Which process runs a batch, so that a second one joins it, is refused, or goes on after it.

A batch is fed to one queue. A process that moves a batch away from a queue that is worked would
leave the process that works there without rows.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from rowfleet.errors import InputError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import Connection, Engine, reading, writing
from rowfleet.ledger.queries import batch_records, fleet
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.statuses import ACTIVE
from rowfleet.ledger.transitions import stopping
from submitter import hints
from submitter.local.worker import NODE_PREFIX, Run, is_submitting, queue_of

log = logging.getLogger(__name__)

#: Seconds for which nothing is seen at work on a batch's other queue before a process that waits
#: for the batch takes it back. Longer than the pauses between a worker's rows mostly are.
UNWORKED = 15.0

#: Chooses the queue of the batch of that id, given the batch if it is there already. Raises
#: InputError if another process runs it.
QueueFor = Callable[[Connection, str, BatchRecord | None], str]


def runner_of(connection: Connection, engine: Engine, batch: BatchRecord) -> str | None:
    """Return in words what works on the batch's queue now, None if nothing is seen to.

    A `rowfleet local` of this machine is known by its lock, anything else by the rows it runs.
    """
    if is_submitting(engine, batch.queue):
        return "another `rowfleet local`"
    workers = fleet.workers_on(connection, batch.queue)
    # This machine's runs have locks: such a worker is about to end, for its submitter is gone.
    ours = f"@{os.uname().nodename}"
    seen = [w for w in workers if not (w.startswith(NODE_PREFIX) and w.endswith(ours))]
    if not seen:
        return None
    if all(worker.startswith(NODE_PREFIX) for worker in seen):
        return f"a `rowfleet local` on {seen[0].partition('@')[2]}"
    return f"the workers of the queue {batch.queue!r}"


def for_fleet(engine: Engine, queue: str) -> QueueFor:
    """Choose ``queue`` for a batch, unless a `rowfleet local` runs the batch elsewhere."""

    def choose(connection: Connection, _batch_id: str, batch: BatchRecord | None) -> str:
        if batch is not None and batch.queue != queue:
            _refuse(connection, engine, batch, fleets=False)
        return queue

    return choose


def for_local(engine: Engine, run: Run) -> QueueFor:
    """Choose the queue of a batch for a `rowfleet local` with a broker of its own.

    Refuses a batch that another process runs. The run's lock names the queue before another
    process can look at the batch.
    """

    def choose(connection: Connection, batch_id: str, batch: BatchRecord | None) -> str:
        if batch is not None:
            _refuse(connection, engine, batch, fleets=True)
        queue = queue_of(batch_id)
        run.works_on(queue)
        return queue

    return choose


def _refuse(connection: Connection, engine: Engine, batch: BatchRecord, *, fleets: bool) -> None:
    """Raise InputError if another process runs the batch; ``fleets``: also if a fleet does."""
    if batch.status not in ACTIVE:
        return
    runner = runner_of(connection, engine, batch)
    if runner is not None and (fleets or "`rowfleet local`" in runner):
        watch = hints.command("progress", batch.id, "--watch")
        raise InputError(f"batch {batch.id} is run by {runner} now; follow it with: {watch}")


class Waiting:
    """What a process that feeds a batch and waits for it does when the batch changes its queue."""

    def __init__(self, engine: Engine, feeder: Feeder, batch_id: str) -> None:
        """Nothing is looked at before the first `look`."""
        self._engine = engine
        self._feeder = feeder
        self._batch_id = batch_id
        self._is_elsewhere = False
        self._seen_at = 0.0

    def look(self) -> None:
        """Close the batch if it has ended on another queue; take it back if nothing works there.

        Raises LedgerError while the ledger is away.
        """
        with reading(self._engine) as connection:
            batch = batch_records.get_batch(connection, self._batch_id)
            mine = batch.queue == self._feeder.queue_name
            runner = None if mine else runner_of(connection, self._engine, batch)
        if mine:
            if self._is_elsewhere:
                log.warning("batch %s goes on here again", batch.id)
            self._is_elsewhere = False
            return
        now = time.monotonic()
        if not self._is_elsewhere:
            log.warning(
                "another run has taken batch %s over, on the queue %r; waiting for its end",
                batch.id,
                batch.queue,
            )
        if runner is not None or not self._is_elsewhere:
            self._seen_at = now
        self._is_elsewhere = True
        self._feeder.close(batch.id)
        self._feeder.sweep(batch.id)
        is_left = runner is None and batch.status in ACTIVE
        if is_left and now - self._seen_at >= UNWORKED:
            with writing(self._engine) as connection:
                stopping.move_queue(
                    connection, batch.id, self._feeder.queue_name, before=batch.queue
                )
