"""`rowfleet migrate`."""

from __future__ import annotations

import logging
import time

import click

from rowfleet.ledger import schema
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.patience import patiently
from submitter.cli import console
from submitter.cli.amounts import Number
from submitter.cli.command import Command
from submitter.cli.setup import ledger_of, read_settings


@click.command(cls=Command, example="rowfleet migrate --wait 60")
@click.option(
    "--wait",
    "seconds",
    type=Number(min=0),
    default=0,
    metavar="SECONDS",
    help="Keep trying for so long while the database can't be reached; default: try once.",
)
def migrate(seconds: float) -> None:
    """Create the ledger's tables, or bring them up to date. A submit does so, too.

    Safe to run at any time, by several at once.
    """
    until = time.monotonic() + seconds
    settings = read_settings()
    engine = patiently(
        lambda: ledger_of(settings, create=True),
        logging.getLogger(__name__),
        "%s; waiting",
        waits_for=(LedgerError,),
        until=until,
    )
    where = engine.url.render_as_string(hide_password=True)
    console.out.print(
        f"the ledger in {console.escaped(where)} has the schema {schema.head()}",
        highlight=False,
        soft_wrap=True,
    )
