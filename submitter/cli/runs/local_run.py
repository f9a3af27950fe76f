"""A run on this machine from its sheet to the finished one, with a broker and worker of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from rowfleet import analyzer_kinds
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection, Engine
from rowfleet.ledger.records import BatchRecord, Progress
from rowfleet.ledger.statuses import Tier
from rowfleet.queue.client import Queue
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from rowfleet.storage import location
from submitter.cli import console
from submitter.cli.asked import Asked
from submitter.cli.dry_run import show_dry_run
from submitter.cli.run import announce, conclude, said_how_to_go_on
from submitter.cli.setup import (
    agreed_terms,
    documents_of,
    feeder_for,
    kind_of,
    ledger_of,
    opened_sheet,
    read_settings,
    recipe_of,
)
from submitter.local.broker import starting_broker
from submitter.local.extractor import LocalExtractor
from submitter.local.standby import Standby
from submitter.local.state import state_directory
from submitter.local.worker import LocalWorker, Run, queue_of
from submitter.progress import display, watching
from submitter.results import export
from submitter.results.export import Target
from submitter.submission import recording, takeover
from submitter.submission.submission import Submission, prepare
from submitter.termination import Terminated

#: Raises InputError for a batch that must not go on, by its id.
Allow = Callable[[Connection, str], None]

#: The name of a finished sheet, without its suffix: `invoices.results`, then `invoices.results-2`.
_RESULTS = re.compile(r"(?P<stem>.+)\.results(?:-(?P<number>[0-9]{1,5}))?", re.DOTALL)


def run(
    asked: Asked,
    source: location.Location,
    slots: int | None,
    ready: list[Standby],
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Check the sheet, run its rows, write the finished sheet; return the exit code.

    ``ready`` holds a process that stands by to be the worker.
    """
    out = asked.export_to or _beside(source, plain=asked.plain)
    finished = Target(out, source, asked.plain, asked.overwrite)
    export.check(finished)
    settings = read_settings(slots=slots)
    recipe = recipe_of(asked, settings, dry_run=dry_run)
    if not dry_run:
        check_key(recipe, settings)
    terms = agreed_terms(recipe, settings, asked)
    documents = documents_of(recipe, settings, asked)
    with said_how_to_go_on(), ExitStack() as stack:
        is_alone = settings.redis_url is None and not dry_run
        broker = stack.enter_context(starting_broker()) if is_alone else None
        opened, recipe = stack.enter_context(
            opened_sheet(source, asked, recipe, settings, finished)
        )
        submission = prepare(
            opened,
            asked.rows,
            recipe,
            queue=settings.queue,
            batch_id=asked.batch_id,
            terms=terms,
            tier=Tier.WORKERS,
            source=source,
            documents=documents,
        )
        if dry_run:
            return show_dry_run(submission, settings, tier=None, as_json=as_json)
        with display.display(console.err if as_json else console.out, quiet=as_json) as show:
            engine, progress = carry_out(
                stack,
                settings,
                submission,
                broker,
                ready,
                allow=partial(_guard, finished),
                begun=partial(announce, as_json=False),
                show=show,
            )
        return conclude(engine, progress, finished, as_json=as_json)


def check_key(recipe: Recipe, settings: Settings) -> None:
    """Raise InputError if the recipe's model needs a key and there is none."""
    if kind_of(recipe).asks_openai and settings.openai_api_key is None:
        offline = loading.can_answer(analyzer_kinds.WITHOUT_KEY, recipe)
        raise InputError(
            "OPENAI_API_KEY is not set; set it"
            + (", or use --analyzer rules, which computes offline" if offline else "")
        )


def carry_out(
    stack: ExitStack,
    settings: Settings,
    submission: Submission,
    broker: Callable[[], str] | None,
    ready: list[Standby],
    *,
    allow: Callable[[Run], Allow] | None = None,
    begun: Callable[[Engine, Submission, BatchRecord | None], None] | None = None,
    show: Callable[[Progress], None],
) -> tuple[Engine, Progress]:
    """Run a submission's rows to their end, with a worker that ends with ``stack``.

    ``broker`` waits for a broker of the run's own; None: the one that the settings name. ``ready``
    holds a process that stands by to be the worker. ``allow`` gives what `recording.begin` takes.
    ``begun`` is called when the rows are recorded.
    """
    engine = ledger_of(settings, create=True)
    if broker is not None:
        # A broker of its own needs a queue of its own: the ledger may be shared.
        url = SecretStr(broker())
        settings = settings.model_copy(update={"redis_url": url, "redis_password": None})
        run = Run(engine)
        queue_for = takeover.for_local(engine, run)
    else:
        Queue(settings).check()
        run = Run(engine, settings.queue)
        queue_for = takeover.for_fleet(engine, settings.queue)
    stack.callback(run.end)
    run.free_rows_of_dead_runs()
    allowed = None if allow is None else allow(run)
    submission, found = recording.begin(engine, submission, queue_for, allowed)
    settings = settings.model_copy(update={"queue": submission.queue})
    feeder = feeder_for(engine, settings)
    if settings.queue == queue_of(submission.batch_id):
        stack.callback(run.put_queue_back, settings.queue)
    workers = [LocalWorker(settings, state_directory(), run, ready)]
    if submission.documents is not None:
        folder = str(submission.documents)
        workers.append(LocalExtractor(settings, state_directory(), run, folder))
    stack.push(lambda kind, *_: _stop(workers, interrupted=kind in (KeyboardInterrupt, Terminated)))
    for worker in workers:
        worker.start()
    recording.fill(engine, feeder, submission, found)
    if begun is not None:
        begun(engine, submission, found)

    def look_after() -> None:
        for worker in workers:
            worker.watch()
        run.free_rows_of_dead_runs()

    progress = watching.until_ended(
        engine, submission.batch_id, show=show, feeder=feeder, each_time=look_after
    )
    for worker in workers:  # while the finished sheet is written
        if broker is not None:
            worker.end()
        else:  # rows of others' batches may run there
            worker.let_end()
    return engine, progress


def _beside(source: location.Location, *, plain: bool) -> Path:
    """Return the finished sheet's name where none is given."""
    stem = str(source.with_suffix("") if isinstance(source, Path) else source.stem)
    number = ""
    if again := _RESULTS.fullmatch(stem):  # a finished sheet, which is not written over itself
        stem, number = again["stem"], f"-{int(again['number'] or 1) + 1}"
    return Path(f"{stem}.results{number}{export.default_suffix(source, plain=plain)}")


def _guard(finished: Target, run: Run) -> Allow:
    """Return what raises for a batch that may not write the finished sheet, and keeps its name."""
    guard = export.guard(finished)

    def allow(connection: Connection, batch_id: str) -> None:
        guard(connection, batch_id)
        run.writes(finished.out, batch_id)

    return allow


def _stop(workers: Sequence[LocalWorker], *, interrupted: bool) -> None:
    if interrupted:
        console.err.print("finishing the rows that run; press Ctrl-C again to end them at once")
    is_cut_short = False
    for worker in reversed(workers):
        try:
            worker.stop()
        except (KeyboardInterrupt, Terminated):
            is_cut_short = True
    if is_cut_short:
        console.err.print("ended; their rows start anew next time")
