"""`rowfleet submit`."""

from __future__ import annotations

import click

from rowfleet.errors import InputError
from rowfleet.ledger.statuses import Tier
from rowfleet.settings import load_settings
from rowfleet.storage import location, schemes
from submitter.batch_api import tier as batch_tier
from submitter.cli import console
from submitter.cli.asked import Asked, takes_a_submission
from submitter.cli.command import Command
from submitter.cli.dry_run import show_dry_run
from submitter.cli.options import (
    dry_run_option,
    json_option,
    tier_option,
    urgent_option,
    wait_option,
)
from submitter.cli.run import announce, conclude, follow, said_how_to_go_on
from submitter.cli.runs import fleet_run
from submitter.cli.setup import (
    agreed_terms,
    documents_of,
    opened_sheet,
    recipe_of,
    with_a_ledger,
)
from submitter.progress import display, watching
from submitter.results import export
from submitter.results.export import Target
from submitter.submission.submission import prepare


@click.command(
    cls=Command,
    example="rowfleet submit --excel Master_Refunds.xlsx --wait --export results.xlsx\n"
    "rowfleet submit --excel Master_Refunds.xlsx --start-row 100 --num-rows 100",
)
@click.option(
    "--excel",
    "source",
    required=True,
    type=location.parse,
    metavar="SHEET.xlsx",
    help="The spreadsheet: .xlsx, .xlsm, .xlsb, .xls, .ods or .csv; a path, or "
    f"{schemes.listed(schemes.remote(), ' or ')}.",
)
@takes_a_submission
@urgent_option
@tier_option
@wait_option
@dry_run_option
@json_option
def submit(
    asked: Asked,
    /,
    source: location.Location,
    urgent: bool,
    tier: Tier | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Submit a spreadsheet: one task a row.

    The same content submitted again continues the same batch: nothing is paid for twice. --sample
    waits for the sample as --wait does.
    """
    if asked.export_to and not wait and asked.sample_size is None:
        raise InputError("--export needs --wait; or use `rowfleet export BATCH_ID OUT.xlsx` later")
    finished = None
    if asked.export_to:
        finished = Target(asked.export_to, source, asked.plain, asked.overwrite)
        export.check(finished)
    named = load_settings()
    settings = with_a_ledger(named)
    recipe = recipe_of(asked, settings, dry_run=dry_run)
    terms = agreed_terms(recipe, settings, asked)
    documents = documents_of(recipe, settings, asked)
    wait = wait or asked.sample_size is not None
    if tier == Tier.BATCH:
        batch_tier.check(recipe, urgent=urgent, terms=terms)
        if not dry_run:
            batch_tier.api_key(settings)
    with opened_sheet(source, asked, recipe, settings, finished) as (opened, recipe):
        submission = prepare(
            opened,
            asked.rows,
            recipe,
            queue=batch_tier.QUEUE if tier == Tier.BATCH else settings.queue,
            batch_id=asked.batch_id,
            urgent=urgent,
            terms=terms,
            tier=tier,
            source=source,
            documents=documents,
        )
        if dry_run:
            return show_dry_run(submission, settings, tier=tier, as_json=as_json)
        engine, feeder, submission, found = fleet_run.recorded(
            named, submission, tier=tier, allow=export.guard(finished)
        )
    announce(engine, submission, found, as_json=as_json and not wait)
    if tier == Tier.BATCH or (found is not None and found.tier == Tier.BATCH):
        return follow(engine, settings, submission.batch_id, finished, wait=wait, as_json=as_json)
    if not wait:
        return 0
    with (
        said_how_to_go_on(),
        display.display(console.err if as_json else console.out, quiet=as_json) as show,
    ):
        progress = watching.until_ended(engine, submission.batch_id, show=show, feeder=feeder)
    return conclude(engine, progress, finished, as_json=as_json)
