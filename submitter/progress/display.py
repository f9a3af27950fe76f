"""How a batch's progress is shown: a live bar for people, plain lines for logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rowfleet.ledger.records import Progress
from rowfleet.ledger.statuses import FOLLOWED_TO, BatchStatus
from rowfleet.masking import outside
from rowfleet.prices import format_dollars
from submitter.progress.watching import LONGEST_BESIDE

#: Seconds between lines where output is not a terminal: a log of a day's batch stays readable.
LINE_INTERVAL = 15.0

#: Characters of the reason why rows are tried again; `failed` and the ledger have all of it.
LONGEST_REASON = 120


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
        ended = progress.status in FOLLOWED_TO
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
    if progress.needs_review:
        parts.append(to_review(progress.needs_review))
    if progress.cancelled:
        parts.append(f"cancelled {progress.cancelled:,}")
    if progress.status not in FOLLOWED_TO and not progress.is_idle:
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
    if progress.status == BatchStatus.LOADING:
        parts.append("not wholly recorded yet")
    if progress.reason:
        parts.append(progress.reason)
    if retried_for:
        parts.append(f"rows are tried again: {retried_for}")
    return " · ".join(parts)


def to_review(rows: int) -> str:
    """Return how many rows need review, in words."""
    return "1 row needs review" if rows == 1 else f"{rows:,} rows need review"


def perhaps(calls: int) -> str:
    """Return how many calls may be on the API's bill beside those that were answered."""
    some = "1 call" if calls == 1 else f"{calls:,} calls"
    return f"{some} without an answer, possibly billed"


def dollars(cost: float | None) -> str:
    """Return an amount as people write it; small ones with as many digits as say something."""
    return "cost unknown (the model has no known price)" if cost is None else format_dollars(cost)
