"""`rowfleet migrate`."""

from __future__ import annotations

import time

import click

from rowfleet.errors import ServiceError
from rowfleet.ledger import schema
from submitter.cli import console
from submitter.cli.amounts import Number
from submitter.cli.command import Command
from submitter.cli.setup import ledger_of, read_settings
from submitter.progress import watching


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
    deadline = time.monotonic() + seconds
    settings = read_settings()
    said = False
    while True:
        try:
            engine = ledger_of(settings, create=True)
        except ServiceError as error:
            if isinstance(error, schema.NewerSchemaError) or time.monotonic() >= deadline:
                raise
            if not said:
                console.err.print(
                    f"{console.escaped(error)}; waiting", highlight=False, soft_wrap=True
                )
            said = True
            time.sleep(watching.INTERVAL)
        else:
            break
    where = engine.url.render_as_string(hide_password=True)
    console.out.print(
        f"the ledger in {console.escaped(where)} has the schema {schema.head()}",
        highlight=False,
        soft_wrap=True,
    )
