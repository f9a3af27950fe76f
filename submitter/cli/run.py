"""What `submit`, `local` and `collect` share: following a batch to its end, and reporting it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rowfleet.errors import InputError
from rowfleet.ledger import records
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.patience import patiently
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import rows_numbered, waiting_to_be_asked
from rowfleet.ledger.records import Progress
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.recipes import loading
from rowfleet.settings import Settings
from submitter import hints
from submitter.batch_api import tier as batch_tier
from submitter.cli import console, selected
from submitter.cli.console import progress_facts, rows_in_words
from submitter.cli.setup import kind_of
from submitter.costs import bill, sample
from submitter.local.worker import queue_of
from submitter.progress import display, watching
from submitter.results import export
from submitter.results.export import Target
from submitter.submission.submission import Submission


def follow(
    engine: Engine,
    settings: Settings,
    batch_id: str,
    export_to: Target | None,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Bring a batch through the Batch API: to its end with ``wait``, else as far as is possible."""
    with display.display(
        console.err if as_json else console.out, quiet=as_json or not wait
    ) as show:
        progress = batch_tier.follow(
            engine, settings, batch_id, wait=wait, show=show, say=_say_quietly(as_json)
        )
    if wait or progress.status == BatchStatus.STOPPED:
        return conclude(engine, progress, export_to, as_json=as_json)
    return 0


def _say_quietly(as_json: bool) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        if not as_json:
            console.note(sentence)

    return say


def announce(
    engine: Engine, submission: Submission, found: records.BatchRecord | None, *, as_json: bool
) -> None:
    """Tell that the batch is recorded, or was ``found``, and how to follow it."""
    for sentence in selected.left_out(submission.selection):
        console.note(sentence)
    if found is not None and found.order_by != submission.rows.order_by:
        console.note("its rows keep the order in which they were recorded")
    progress = watching.read_progress(engine, submission.batch_id)
    if as_json:
        console.print_json(
            {
                "batch_id": submission.batch_id,
                "continued": found is not None,
                "rows": progress.total,
            }
        )
        return
    kind = kind_of(submission.recipe)
    what = "recorded" if found is None else "this continues a batch submitted before"
    follow = hints.command("progress", submission.batch_id, "--watch")
    console.err.print(
        f"batch [bold]{submission.batch_id}[/]: {rows_in_words(progress.total)}, {what}; analyzer "
        f"{kind.name}"
        + (f", model {console.escaped(submission.recipe.model)}" if kind.asks_a_model else "")
        + f"\nfollow it with: {console.escaped(follow)}",
        highlight=False,
        soft_wrap=True,
    )


def conclude(engine: Engine, progress: Progress, export_to: Target | None, *, as_json: bool) -> int:
    """Report a batch that has ended, write its finished sheet, and return the exit code."""
    shown = progress_facts(progress)
    if progress.status == BatchStatus.SAMPLED:
        shown |= _show_sample(engine, progress, say=not as_json)
    if as_json:
        console.print_json(shown)
    check_not_stopped(progress)
    if export_to:
        write_results_patiently(engine, progress.batch_id, export_to, say=not as_json)
    if progress.status == BatchStatus.BUDGET_EXHAUSTED and not as_json:
        console.err.print(
            f"{rows_in_words(progress.pending, 'was', 'were')} not started: {progress.reason}; "
            f"to go on: {console.escaped(larger_budget(progress))}",
            highlight=False,
            soft_wrap=True,
        )
    if progress.failed and not as_json:
        console.err.print(
            f"{rows_in_words(progress.failed)} failed; see: "
            f"{console.escaped(hints.command('failed', progress.batch_id))}",
            highlight=False,
            soft_wrap=True,
        )
    return watching.exit_code(progress)


def check_not_stopped(progress: Progress) -> None:
    """Raise InputError, which says why, for a batch that was stopped."""
    if progress.status == BatchStatus.STOPPED:
        raise InputError(
            f"batch {progress.batch_id} was stopped: {(progress.reason or '').rstrip('.')}; "
            "once that is mended, submit the same again and it goes on"
        )


def larger_budget(progress: Progress) -> str:
    """Return the command that lets a batch go on whose budget is spent."""
    return hints.larger_budget(progress.batch_id, progress.max_cost_usd, progress.cost_usd)


def _show_sample(engine: Engine, progress: Progress, *, say: bool) -> dict[str, object]:
    """Show what a sample came to and what the rest would cost; return it for a script."""
    with reading(engine) as connection:
        record = batch_records.get_batch(connection, progress.batch_id)
        sampled = rows_numbered(connection, record, record.sample or ())
        rest = waiting_to_be_asked(connection, record.id)
    projection = sample.project(sampled, rest)
    if say:
        for line in bill.results(sampled, loading.recorded(record.recipe).headers()):
            console.out.print(line, markup=False, highlight=False, soft_wrap=True)
        said = bill.projected(projection, progress.cost_usd, progress.possibly_billed_calls)
        console.out.print(said, highlight=False, soft_wrap=True)
        console.say(f"to run them: {_what_runs_the_rest(record)}")
    return {
        "sample": [dataclasses.asdict(row) for row in sampled],
        "rest": dataclasses.asdict(projection),
    }


def _what_runs_the_rest(record: records.BatchRecord) -> str:
    """Return how a batch goes on after its sample."""
    resume = hints.command("resume", record.id)
    if record.queue == queue_of(record.id):  # no worker is there that would resume it
        return hints.same_again(without="--sample") or "the same again without --sample"
    return f"the same again without --sample, or, where workers run, {resume}"


def write_results_patiently(engine: Engine, batch_id: str, asked: Target, *, say: bool) -> None:
    """Write the finished sheet, again for as long as the ledger is away."""
    patiently(
        partial(write_results, engine, batch_id, asked, say=say),
        logging.getLogger(__name__),
        "%s; the export waits for it",
    )


def write_results(
    engine: Engine, batch_id: str, asked: Target, *, say: bool
) -> records.BatchRecord:
    """Write the batch's finished sheet as it is now; return the batch."""
    exported = export.export(engine, batch_id, asked)
    if say:
        console.say(f"{rows_in_words(exported.written.rows)} written to {asked.out}")
        for note in exported.written.notes:
            console.note(note)
    return exported.batch


@contextmanager
def said_how_to_go_on() -> Iterator[None]:
    """After Ctrl-C, print the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        console.err.print(
            f"to go on: {console.escaped(hints.same_again() or 'the same command again')}",
            highlight=False,
            soft_wrap=True,
        )
        raise
