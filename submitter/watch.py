"""Watching a batch: a live bar for people, plain lines for logs, and the exit code at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from rowfleet.errors import RowfleetError, ServiceError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import reading, unreachable
from rowfleet.ledger.queries import rows
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Progress
from rowfleet.masking import outside
from rowfleet.prices import format_dollars
from submitter import takeover

log = logging.getLogger(__name__)

#: Seconds between looks at the batch.
INTERVAL = 1.0
#: Seconds between lines where nobody watches live: a log of a day's batch stays readable.
LINE_INTERVAL = 15.0

#: Characters of an id that stand beside a bar of 40 and the counts in 80 columns; a longer one has
#: a line of its own, so that it is never cut.
LONGEST_BESIDE = 24

#: Characters of the reason why rows are tried again; `failed` and the ledger have all of it.
LONGEST_REASON = 120

#: A batch in one of these states goes nowhere by itself.
ENDED = ("finished", "cancelled", "stopped", "sampled", "budget_exhausted")


def exit_code(progress: Progress) -> int:
    """Return what the process exits with: 0 all rows done, 1 some are not, 2 it was stopped.

    A batch that has run its sample has done what it was asked to.
    """
    if progress.status == "stopped":
        return 2
    if progress.status == "sampled":
        return 0
    return 0 if progress.done == progress.total else 1


def read_progress(engine: Engine, batch_id: str) -> Progress:
    """Return how far the batch is, and why rows are tried again.

    Raises ServiceError if the ledger can't be reached.
    """
    try:
        with reading(engine) as connection:
            progress = progress_of(connection, batch_id)
            if progress.pending and progress.status not in ENDED:
                progress = replace(progress, retried_for=rows.why_retried(connection, batch_id))
            return progress
    except DBAPIError as error:
        raise unreachable(engine, error) from None


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
    away: set[str] = set()
    waiting = None if feeder is None else takeover.Waiting(engine, feeder, batch_id)
    while True:
        problems: dict[str, RowfleetError] = {}
        if feeder is not None:
            problems |= _feed(engine, feeder, batch_id)
        try:
            if waiting is not None:
                waiting.look()
        except DBAPIError as error:
            problems["ledger"] = unreachable(engine, error)
        try:
            progress = read_progress(engine, batch_id)
        except ServiceError as error:
            problems["ledger"] = error
        else:
            show(progress)
            if _is_over(progress, mends=feeder is not None):
                return progress
        if each_time is not None:
            try:
                each_time()
            except DBAPIError as error:
                problems["ledger"] = unreachable(engine, error)
        for service, problem in problems.items():
            if service not in away:
                log.warning("%s; waiting, no row is lost", problem)
        away = set(problems)
        time.sleep(INTERVAL)


def _feed(engine: Engine, feeder: Feeder, batch_id: str) -> dict[str, RowfleetError]:
    """Let the feeder do a step. Return which services are away, each with a sentence."""
    problems: dict[str, RowfleetError] = {}
    try:
        try:
            feeder.step()
        except ServiceError as error:
            problems["broker"] = error
            # Workers may settle the last rows while the broker is away.
            feeder.close(batch_id)
            feeder.sweep(batch_id)
    except DBAPIError as error:
        problems["ledger"] = unreachable(engine, error)
    return problems


def _is_over(progress: Progress, *, mends: bool) -> bool:
    """Tell whether no row of the batch moves any more.

    Rows of a cancelled batch that wait are still to end. Only a process that ``mends`` waits for
    those, since it ends them itself: else it might wait for a fleet that is not there.
    """
    if progress.status not in ENDED or progress.running:
        return False
    return progress.status != "cancelled" or not mends or progress.ended == progress.total


@contextmanager
def display(console: Console, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress: live on a terminal, a line now and then elsewhere."""
    if quiet:
        yield lambda _progress: None
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield lambda progress: live.update(panel(progress))
    else:
        yield _Lines(console)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._at = -LINE_INTERVAL
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        ended = progress.status in ENDED
        due = time.monotonic() - self._at >= LINE_INTERVAL
        if (due or ended) and progress != self._last:
            self._console.print(line(progress), markup=False, highlight=False, soft_wrap=True)
            self._at = time.monotonic()
            self._last = progress


def panel(progress: Progress) -> Group:
    """Return the live view: a bar, the counts, speed and bill; the id is never cut."""
    bar = Table.grid(padding=(0, 1))
    name = Text(progress.batch_id, style="bold", no_wrap=True, overflow="ignore")
    counts = Text(f"{progress.ended:,}/{progress.total:,}")
    shown = ProgressBar(total=max(1, progress.total), completed=progress.ended, width=40)
    said = outside(progress.retried_for or "", LONGEST_REASON)
    details = Text(_details(progress, said), style="dim")
    if len(progress.batch_id) > LONGEST_BESIDE:
        bar.add_row(shown, counts)
        return Group(name, bar, details)
    bar.add_column(no_wrap=True)
    bar.add_row(name, shown, counts)
    return Group(bar, details)


def line(progress: Progress) -> str:
    """Return the same in one line, for a log: without the API's words, which may quote a cell."""
    reason = (progress.retried_for or "").partition(": ")[0]
    details = _details(progress, outside(reason, LONGEST_REASON))
    return f"{progress.batch_id}: {progress.ended:,}/{progress.total:,} rows, {details}"


def state(progress: Progress) -> str:
    """Return the batch's status in words: one that runs, but that nothing runs, waits."""
    return "waiting" if progress.is_idle else progress.status


def _details(progress: Progress, retried_for: str) -> str:
    parts = [
        state(progress) + (": nothing runs it now" if progress.is_idle else ""),
        f"done {progress.done:,}",
        f"failed {progress.failed:,}",
        f"running {progress.running:,}",
        f"queued {progress.queued:,}",
        f"pending {progress.pending:,}",
    ]
    if progress.cancelled:
        parts.append(f"cancelled {progress.cancelled:,}")
    if progress.status not in ENDED and not progress.is_idle:
        parts.append(f"{progress.rows_per_second:.1f} rows/s")
        if progress.eta_seconds is not None:
            parts.append(f"ETA {timedelta(seconds=round(progress.eta_seconds))}")
    tokens = progress.prompt_tokens + progress.completion_tokens
    if tokens:
        parts.append(f"{tokens:,} tokens")
    if progress.cost_usd is None:
        parts.append("cost unknown (a call has no known price, or its answer no token counts)")
    elif tokens:
        parts.append(dollars(progress.cost_usd))
    if progress.possibly_billed_calls:
        parts.append(perhaps(progress.possibly_billed_calls))
    if progress.max_cost_usd is not None:
        parts.append(f"budget {dollars(progress.max_cost_usd)}")
    if progress.status == "loading":
        parts.append("not wholly recorded yet")
    if progress.reason:
        parts.append(progress.reason)
    if retried_for:
        parts.append(f"rows are tried again: {retried_for}")
    return " · ".join(parts)


def perhaps(calls: int) -> str:
    """Return how many calls may be on the API's bill beside those that were answered."""
    some = "1 call" if calls == 1 else f"{calls:,} calls"
    return f"{some} without an answer, possibly billed"


def dollars(cost: float | None) -> str:
    """Return an amount as people write it; small ones with as many digits as say something."""
    return "cost unknown (the model has no known price)" if cost is None else format_dollars(cost)
