"""Watching a batch: a live bar for people, plain lines for logs, and the exit code at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from rowfleet.errors import RowfleetError, ServiceError
from rowfleet.exit_codes import ExitCode
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.patience import Absence
from rowfleet.ledger.queries import rows
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Progress
from rowfleet.ledger.statuses import FOLLOWED_TO, BatchStatus
from submitter.submission import takeover

log = logging.getLogger(__name__)

#: Seconds between looks at the batch.
INTERVAL = 1.0
#: Seconds between looks whether its last rows have ended, and the most rows that count as those.
LAST_INTERVAL, LAST_ROWS = 0.1, 1_000
#: Characters of an id that stand beside a bar of 40 and the counts in 80 columns; a longer one has
#: a line of its own, so that it is never cut.
LONGEST_BESIDE = 24


def exit_code(progress: Progress) -> ExitCode:
    """Return what the process exits with: all rows done, some are not, or it was stopped.

    A batch that has run its sample has done what it was asked to.
    """
    if progress.status == BatchStatus.STOPPED:
        return ExitCode.BAD_INPUT
    if progress.status == BatchStatus.SAMPLED:
        return ExitCode.DONE
    return ExitCode.DONE if progress.done == progress.total else ExitCode.NOT_ALL_DONE


def read_progress(engine: Engine, batch_id: str) -> Progress:
    """Return how far the batch is, and why rows are tried again.

    Raises LedgerError if the ledger can't be reached.
    """
    with reading(engine) as connection:
        progress = progress_of(connection, batch_id)
        if progress.pending and progress.status not in FOLLOWED_TO:
            progress = replace(progress, retried_for=rows.why_retried(connection, batch_id))
        return progress


def until_ended(
    engine: Engine,
    batch_id: str,
    *,
    show: Callable[[Progress], None],
    feeder: Feeder | None = None,
    each_time: Callable[[], None] | None = None,
) -> Progress:
    """Follow the batch to its end, feeding its queue meanwhile if ``feeder`` is given.

    The end is read from the ledger alone: a broker that is away delays rows and hides no end. A
    service that is away is waited for; each is named once until it is back.
    """
    absences = {"broker": Absence(log), "ledger": Absence(log)}
    waiting = None if feeder is None else takeover.Waiting(engine, feeder, batch_id)
    while True:
        problems: dict[str, RowfleetError] = {}
        last_rows = 0
        if feeder is not None:
            problems |= _feed(feeder, batch_id)
        try:
            if waiting is not None:
                waiting.look()
        except LedgerError as error:
            problems["ledger"] = error
        try:
            progress = _looked_at(engine, batch_id, feeder)
            last_rows = 0 if progress.pending else progress.queued + progress.running
        except LedgerError as error:
            problems["ledger"] = error
        else:
            show(progress)
            if _is_over(progress, mends=feeder is not None):
                return progress
        if each_time is not None:
            try:
                each_time()
            except LedgerError as error:
                problems["ledger"] = error
        for service, absence in absences.items():
            if service in problems:
                absence.goes_on(problems[service])
            else:
                absence.ends()
        _wait(engine, batch_id, last_rows)


def _looked_at(engine: Engine, batch_id: str, feeder: Feeder | None) -> Progress:
    """Return how far the batch is; a ``feeder`` ends it first if nothing of it runs any more."""
    progress = read_progress(engine, batch_id)
    is_over = progress.status == BatchStatus.RUNNING and not progress.queued + progress.running
    if feeder is None or not is_over:
        return progress
    feeder.close(batch_id)  # repair does that, too, and looks rarely
    return read_progress(engine, batch_id)


def _wait(engine: Engine, batch_id: str, last_rows: int) -> None:
    """Wait for the next look; not for longer than the ``last_rows`` that run, if they do."""
    if not 0 < last_rows <= LAST_ROWS:
        time.sleep(INTERVAL)
        return
    until = time.monotonic() + INTERVAL
    while time.monotonic() < until:
        time.sleep(LAST_INTERVAL)
        with suppress(LedgerError):  # the next look says so
            progress = read_progress(engine, batch_id)
            if not progress.queued + progress.running:
                return


def _feed(feeder: Feeder, batch_id: str) -> dict[str, RowfleetError]:
    """Let the feeder do a step. Return which services are away, each with a sentence."""
    problems: dict[str, RowfleetError] = {}
    try:
        try:
            feeder.step()
        except LedgerError:
            raise
        except ServiceError as error:
            problems["broker"] = error
            # Workers may settle the last rows while the broker is away.
            feeder.close(batch_id)
            feeder.sweep(batch_id)
    except LedgerError as error:
        problems["ledger"] = error
    return problems


def _is_over(progress: Progress, *, mends: bool) -> bool:
    """Tell whether no row of the batch moves any more.

    Rows of a cancelled batch that wait are still to end. Only a process that ``mends`` waits for
    those, since it ends them itself: else it might wait for a fleet that is not there.
    """
    if progress.status not in FOLLOWED_TO or progress.running:
        return False
    return progress.status != BatchStatus.CANCELLED or not mends or progress.ended == progress.total
