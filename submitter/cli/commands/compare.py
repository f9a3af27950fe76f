"""`rowfleet compare`."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import click

from rowfleet.errors import InputError
from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries import batch_records
from rowfleet.recipes import loading
from submitter.cli import console
from submitter.cli.command import Command
from submitter.cli.options import json_option, labels_option, tolerance_option
from submitter.cli.setup import complete_id, ledger_of, read_settings
from submitter.cli.shown import compared
from submitter.evaluation import labels, side_by_side
from submitter.evaluation.comparison import compare, shared_properties
from submitter.evaluation.pairing import Paired


@click.command(
    "compare",
    cls=Command,
    example="rowfleet compare refunds-3f9a2c81d04e refunds-77b0c1e2a9f4 --out differences.xlsx",
)
@click.argument("batch_a")
@click.argument("batch_b")
@labels_option
@click.option(
    "--property",
    "wanted",
    multiple=True,
    metavar="PROPERTY",
    help="A property to compare; default: all classes and amounts that both recipes ask for.",
)
@tolerance_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT.xlsx",
    help="Write the rows on which the two disagree, side by side.",
)
@json_option
def compare_(
    batch_a: str,
    batch_b: str,
    against: tuple[str, ...],
    wanted: tuple[str, ...],
    tolerance: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say how two batches' answers about the same rows differ: two models, or two prompts.

    With labels it says which of the two is better. Differences are those of the same rows, with
    an interval that holds with 95 % confidence, and the p-value of McNemar's exact test. Rows that
    only one of the two has are left out.
    """
    if against and wanted:
        raise InputError("give --against or --property, not both")
    if out is not None:
        side_by_side.check(out)
    engine = ledger_of(read_settings())
    ids = complete_id(engine, batch_a), complete_id(engine, batch_b)
    if ids[0] == ids[1]:
        raise InputError(f"{batch_a} and {batch_b} are the same batch")
    within = Decimal(str(tolerance))
    with reading(engine) as connection:
        first, second = (batch_records.get_batch(connection, each) for each in ids)
        recipes = loading.recorded(first.recipe), loading.recorded(second.recipe)
        if against:
            about = labels.all_compared(against, first, recipes[0], within)
            shared_properties(*recipes, [each.property for each in about], within)
        else:
            about = shared_properties(*recipes, wanted, within)
        paired = Paired(connection, first, second)
        found = compare(paired, recipes, about)
        if out is not None:
            side_by_side.save(out, paired, about)
    if as_json:
        console.print_json(dataclasses.asdict(found))
        return
    compared.show(found)
    if out is not None:
        console.say(f"{console.rows_in_words(found.disagreeing)} written to {out}")
