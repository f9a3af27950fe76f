"""`rowfleet local`."""

from __future__ import annotations

import click

from rowfleet.settings import MOST_SLOTS
from rowfleet.storage import location
from submitter.cli.amounts import WholeNumber
from submitter.cli.asked import Asked, takes_a_submission
from submitter.cli.command import Command, importing
from submitter.cli.options import dry_run_option, json_option
from submitter.local.standby import standing_by


@click.command(cls=Command, example="rowfleet local examples/Master_Refunds.xlsx")
@click.argument("source", type=location.parse, metavar="SHEET.xlsx")
@takes_a_submission
@click.option(
    "--slots",
    type=WholeNumber(1, MOST_SLOTS),
    metavar="N",
    help="Rows to run at once; default: 100.",
)
@dry_run_option
@json_option
def local(
    asked: Asked,
    /,
    source: location.Location,
    slots: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Do the whole job on this machine, with nothing else installed.

    Runs an embedded Valkey and a SQLite ledger unless REDIS_URL and DATABASE_URL name others, and
    a Celery worker. Writes SHEET.results.xlsx: your workbook, with the answers in it (a sheet that
    is one already gets SHEET.results-2.xlsx). Ctrl-C stops; the same again goes on.
    """
    with standing_by(wanted=not dry_run) as ready:
        with importing():  # while the worker's process imports
            from submitter.cli.runs import local_run
        return local_run.run(asked, source, slots, ready, dry_run=dry_run, as_json=as_json)
