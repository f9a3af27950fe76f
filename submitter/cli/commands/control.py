"""The commands that act on batches: collect, retry, resume, cancel, repair."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import click

from rowfleet import analyzer_kinds
from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger import records
from rowfleet.ledger.engine import Engine, reading, writing
from rowfleet.ledger.queries import batch_records, parts
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.queries.rows import failed_among
from rowfleet.ledger.statuses import BATCH_ENDED, BatchStatus, Tier
from rowfleet.ledger.transitions import in_chunks, stopping
from rowfleet.queue.client import Queue
from rowfleet.recipes import loading
from rowfleet.settings import Settings
from rowfleet.storage import location
from submitter import hints
from submitter.batch_api import tier as batch_tier
from submitter.cli import console
from submitter.cli.amounts import DOLLARS
from submitter.cli.command import Command
from submitter.cli.console import progress_facts, rows_in_words
from submitter.cli.options import batch_argument, export_options, json_option, wait_option
from submitter.cli.run import follow, larger_budget
from submitter.cli.setup import (
    check_price,
    complete_id,
    feeder_for,
    ledger_of,
    read_settings,
    recorded_price,
    this_process,
)
from submitter.progress import display, watching
from submitter.progress.presence import Presence
from submitter.results import export
from submitter.results.export import Target


@click.command(
    cls=Command,
    example="rowfleet collect master-refunds-3f9a2c81d04e\n"
    "rowfleet collect master-refunds-3f9a2c81d04e --wait --export results.xlsx",
)
@batch_argument
@wait_option
@export_options
@json_option
def collect(
    batch_id: str,
    wait: bool,
    export_to: location.Location | None,
    plain: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Go on with a batch of --tier batch: fetch answers that are there, send rows that wait.

    Needs no sheet, and no submitter that waits.
    """
    if export_to and not wait:
        raise InputError("--export needs --wait; or use `rowfleet export BATCH_ID OUT.xlsx` later")
    finished = Target(export_to, None, plain, overwrite) if export_to else None
    if finished:
        export.check(finished)
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    allow = export.guard(finished)
    with reading(engine) as connection:
        allow(connection, batch_id)
        if batch_records.get_batch(connection, batch_id).tier != Tier.BATCH:
            raise InputError(f"batch {batch_id} is run by workers; there is nothing to collect")
    code = follow(engine, settings, batch_id, finished, wait=wait, as_json=as_json)
    if not wait:
        current = watching.read_progress(engine, batch_id)
        if as_json:
            console.print_json(progress_facts(current))
        else:
            console.out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)
    return code


@click.command(
    cls=Command,
    example="rowfleet retry master-refunds-3f9a2c81d04e\n"
    "rowfleet retry master-refunds-3f9a2c81d04e --row 17 --row 42",
)
@batch_argument
@click.option(
    "--row",
    "sheet_rows",
    type=int,
    multiple=True,
    metavar="N",
    help="Only this row, as the spreadsheet numbers it; may be repeated.",
)
@json_option
def retry(batch_id: str, sheet_rows: Sequence[int], as_json: bool) -> None:
    """Run a batch's failed rows again."""
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        batch_record = batch_records.get_batch(connection, batch_id)
        if batch_record.status == BatchStatus.STOPPED:
            raise InputError(_stopped(batch_record))
        if batch_record.status == BatchStatus.BUDGET_EXHAUSTED:
            raise InputError(
                f"batch {batch_id} may cost no more: {batch_record.reason}; first: "
                f"{larger_budget(watching.read_progress(engine, batch_id))}"
            )
        asked = {batch_record.number_of(sheet_row): sheet_row for sheet_row in sheet_rows}
        unfailed = sorted(asked.keys() - failed_among(connection, batch_id, list(asked)))
        if unfailed:
            sheet_row = asked[unfailed[0]]
            raise InputError(f"--row {sheet_row}: row {sheet_row} of {batch_id} has not failed")
    again = in_chunks.retry_failed(engine, batch_id, list(asked) or None, by=this_process())
    if as_json:
        rows = [batch_record.sheet_row(number) for number in again]
        console.print_json({"batch_id": batch_id, "rows": rows})
        return
    if not again:
        console.say(f"no row of {batch_id} has failed")
        return
    console.say(f"{rows_in_words(len(again))} of {batch_id} to run again")
    if batch_record.tier == Tier.BATCH:
        console.say(f"send them with: {hints.command('collect', batch_id, '--wait')}")
        return
    runner = Presence(engine, settings, batch_record)
    if settings.redis_url is not None and not runner.is_local:
        _wake(engine, settings, batch_record)
    if runner.is_there():
        console.say(f"follow it with: {hints.command('progress', batch_id, '--watch')}")
    else:
        console.say(f"nothing runs the batch now; {runner.remedy()}")


def _wake(engine: Engine, settings: Settings, record: records.BatchRecord) -> None:
    """Put the batch's rows on its queue, so that an autoscaler has a reason to start workers."""
    try:
        queue = settings.model_copy(update={"queue": record.queue})
        feeder_for(engine, queue).feed(only=record.id)
    except ServiceError as error:  # the workers feed it, too
        logging.getLogger(__name__).warning("not feeding for now, no row is lost: %s", error)


def _stopped(record: records.BatchRecord) -> str:
    return (
        f"batch {record.id} was stopped: {record.reason}; once that is mended, submit the same "
        "sheet again and it goes on"
    )


@click.command(
    cls=Command,
    example="rowfleet resume master-refunds-3f9a2c81d04e\n"
    "rowfleet resume master-refunds-3f9a2c81d04e --max-cost 25",
)
@batch_argument
@click.option(
    "--max-cost",
    type=DOLLARS,
    metavar="USD",
    help="What the batch may cost altogether, from its beginning; default: what is left of its "
    "budget, and no limit if that is spent.",
)
@json_option
def resume(batch_id: str, max_cost: float | None, as_json: bool) -> None:
    """Let the rest of a batch run, after its sample or when its budget is spent.

    Feeds the queue if REDIS_URL is set, so that an autoscaler has a reason to start workers.
    """
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    with writing(engine) as connection:
        record = batch_records.get_batch(connection, batch_id)
        if record.status == BatchStatus.STOPPED:
            raise InputError(_stopped(record))
        if record.status in BATCH_ENDED:
            raise InputError(f"batch {batch_id} has ended already: it is {record.status}")
        if record.tier == Tier.BATCH:
            raise InputError(
                f"batch {batch_id} goes through the Batch API: "
                f"{hints.command('collect', batch_id, '--wait')}"
            )
        kind = analyzer_kinds.find(record.analyzer)
        is_paid = kind is None or kind.is_paid
        if max_cost is not None and is_paid:
            asked = loading.recorded(
                {**record.recipe, "model": record.model, "analyzer": record.analyzer}
            )
            check_price(asked, recorded_price(record))
            spent = progress_of(connection, batch_id).cost_usd
            if spent is None:
                raise InputError(
                    f"--max-cost {max_cost:g}: what batch {batch_id} has cost is not known (a call "
                    "has no known price, or its answer no token counts), so no budget can be kept; "
                    f"without one: {hints.command('resume', batch_id)}"
                )
            if spent >= max_cost:
                raise InputError(
                    f"--max-cost {max_cost:g}: {display.dollars(spent)} are spent already; "
                    "give what the batch may cost altogether"
                )
        stopping.end_sample(connection, batch_id)
        # A budget would only hold up rows that cost nothing.
        is_dropped = max_cost is None and record.status == BatchStatus.BUDGET_EXHAUSTED
        if is_dropped or max_cost is not None:
            limit = max_cost if is_paid else None
            stopping.set_budget(connection, batch_id, limit)
    runner = Presence(engine, settings, record)
    if settings.redis_url is not None and not runner.is_local:
        queue = settings.model_copy(update={"queue": record.queue})
        feeder_for(engine, queue).feed(only=batch_id)
    current = runner.seen(watching.read_progress(engine, batch_id))
    if as_json:
        console.print_json(progress_facts(current))
        return
    console.out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)
    if is_dropped:
        console.say(
            "the batch has no budget any more, and all its rows run; --max-cost gives it one"
        )
    if not runner.is_there():
        console.say(f"nothing runs the batch now; {runner.remedy()}")


@click.command(cls=Command, example="rowfleet cancel master-refunds-3f9a2c81d04e")
@batch_argument
@json_option
def cancel(batch_id: str, as_json: bool) -> None:
    """Cancel a batch: queued rows are dropped without a call, running ones finish.

    Remote batches of --tier batch are cancelled, too.
    """
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    with writing(engine) as connection:
        record = batch_records.get_batch(connection, batch_id)
        cancelled = stopping.cancel(connection, batch_id, by=this_process())
        left = bool(parts.parts_of(connection, batch_id))
    swept = in_chunks.sweep(engine, batch_id, by=this_process())
    if not cancelled and not (record.status == BatchStatus.CANCELLED and (left or swept)):
        raise InputError(f"batch {batch_id} has ended already")
    if left:
        batch_tier.cancel(engine, settings, batch_id)
    current = watching.read_progress(engine, batch_id)
    if as_json:
        console.print_json(progress_facts(current))
    else:
        console.out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)


@click.command(cls=Command, example="rowfleet repair master-refunds-3f9a2c81d04e")
@batch_argument
@json_option
def repair(batch_id: str, as_json: bool) -> None:
    """Put back rows that the queue lost. Safe at any time; the fleet does it by itself."""
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        record = batch_records.get_batch(connection, batch_id)
    if record.tier == Tier.BATCH:
        raise InputError(
            f"batch {batch_id} is not on a queue; `rowfleet collect {batch_id}` goes on with it"
        )
    runner = Presence(engine, settings, record)
    if runner.is_local:
        raise InputError(
            f"batch {batch_id} is on no broker that stays; the run that goes on with it repairs "
            f"it: {hints.local_again(record)}"
        )
    queue = record.queue
    feeder = feeder_for(engine, settings.model_copy(update={"queue": queue}))
    back = feeder.repair(only=batch_id)
    feeder.feed(only=batch_id)
    dead = Queue(settings.model_copy(update={"queue": queue})).dead_letters()
    if as_json:
        console.print_json({"batch_id": batch_id, "put_back": back, "dead_letters": dead})
    else:
        console.say(f"{rows_in_words(back)} of {batch_id} put back")
        if dead:
            from submitter import celery_workers  # which imports kombu

            console.say(celery_workers.dead_letters(queue, dead))
