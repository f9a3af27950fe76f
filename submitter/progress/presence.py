"""Whether a process is there that will run a batch's rows, for commands that would wait for one."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

from rowfleet.errors import RowfleetError, ServiceError
from rowfleet.exit_codes import ExitCode
from rowfleet.ledger import records
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.statuses import BatchStatus, Tier
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from submitter import hints
from submitter.local import worker

log = logging.getLogger(__name__)

#: Seconds without a run of `rowfleet local` after which its batch is said to go nowhere. A run
#: holds its lock from before the batch is recorded.
LOCAL_ALONE = 5.0

#: Seconds without a worker after which that is said, and after which the wait for one ends. An
#: autoscaler may have to start a node first, which takes minutes.
FLEET_ALONE, FLEET_GIVEN_UP = 60.0, 600.0

#: Seconds without a new row after which the submitter of a batch that lacks rows is gone, and
#: seconds between two looks after which they count anew: the ledger may have been away.
RECORDING_STALLED, LONGEST_GAP = 60.0, 10.0

#: What to do about a batch whose submitter has ended before it had recorded all rows.
HOW_TO_RECORD = "if its submitter has ended, submit {} again to record the rest"


class NothingRunsItError(RowfleetError):
    """A batch has rows left, and nothing is there that would run them."""

    exit_code = ExitCode.NOT_ALL_DONE


class Presence:
    """Looks for the runner of a batch: a `rowfleet local`, a worker, or a submitter that waits."""

    def __init__(self, engine: Engine, settings: Settings, record: records.BatchRecord) -> None:
        """Nothing is looked at before the first question."""
        self._engine = engine
        self._record = record
        self.is_local = record.queue == worker.queue_of(record.id)
        #: A SQLite ledger's runs are all on this machine, and hold locks beside it.
        self._is_certain = self.is_local and engine.dialect.name == "sqlite"
        has_broker = settings.redis_url is not None and not self.is_local
        self._queue = (
            Queue(settings.model_copy(update={"queue": record.queue})) if has_broker else None
        )
        self._seen_at = time.monotonic()
        self._said = False
        self._total = -1
        self._recorded_at = self._counted_at = -math.inf

    def is_there(self) -> bool:
        """Tell whether something is there now that runs this batch's rows or brings a runner."""
        if self.is_local and worker.is_running(self._engine, self._record.queue):
            return True
        if self._is_certain:
            return False
        with reading(self._engine) as connection:
            if fleet.is_any_leased(connection, self._record.queue):
                return True
        try:
            return self._queue is not None and self._queue.is_tended()
        except ServiceError:  # can't be seen; a command that waits for the broker says so
            return True

    def is_idle(self) -> bool:
        """Tell whether it is known that nothing runs this batch's rows now.

        Without a broker's name, and while a service is away, that is not known.
        """
        if self._record.tier == Tier.BATCH or not self._sees_all:
            return False
        try:
            return not self.is_there()
        except LedgerError:  # the next look at the ledger says so
            return False

    def seen(self, progress: records.Progress) -> records.Progress:
        """Return ``progress``, as that of an idle batch if nothing runs it now."""
        self._count(progress)
        if progress.status == BatchStatus.RUNNING and self.is_idle():
            return idle(progress)
        return progress

    @property
    def _sees_all(self) -> bool:
        """Whether nothing can run the batch unseen."""
        return self._is_certain or self._queue is not None

    def _count(self, progress: records.Progress) -> None:
        """Note since when no row has been recorded of a batch that lacks some."""
        now = time.monotonic()
        if progress.status != BatchStatus.LOADING:
            self._total = -1
        elif progress.total != self._total or now - self._counted_at > LONGEST_GAP:
            self._total, self._recorded_at = progress.total, now
        self._counted_at = now

    def look(self) -> None:
        """Look again. Raises NothingRunsItError when nothing has been there for too long.

        Or, for a runner that was `seen`, when nothing has recorded rows of a batch that lacks some.
        """
        now = time.monotonic()
        if self._total >= 0 and now - self._recorded_at >= RECORDING_STALLED:
            raise NothingRunsItError(
                f"batch {self._record.id} is not wholly recorded: it has {self._total:,} rows so "
                f"far; {HOW_TO_RECORD.format(self._record.source)}"
            )
        if self._record.tier == Tier.BATCH or self.is_there():
            self._seen_at, self._said = now, False
            return
        alone = now - self._seen_at
        if alone >= (LOCAL_ALONE if self._is_certain else FLEET_GIVEN_UP) and self._sees_all:
            raise NothingRunsItError(f"nothing runs batch {self._record.id} now; {self.remedy()}")
        if alone >= FLEET_ALONE and not self._said:
            log.warning(
                "nothing has run batch %s for %g s; %s", self._record.id, FLEET_ALONE, self.remedy()
            )
            self._said = True

    def remedy(self) -> str:
        """Return what makes its rows run."""
        if self.is_local:
            return f"run its rows with: {hints.local_again(self._record)}"
        return (
            f"its rows run when a worker of the queue {self._record.queue!r} is there: "
            "celery -A worker worker, or an autoscaler's"
        )


def idle(progress: records.Progress) -> records.Progress:
    """Return the progress of a batch that nothing runs: without speed and end."""
    return replace(progress, is_idle=True, rows_per_second=0.0, eta_seconds=None)
