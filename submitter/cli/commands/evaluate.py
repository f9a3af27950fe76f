"""`rowfleet evaluate`."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path

import click

from rowfleet.errors import InputError
from rowfleet.exit_codes import ExitCode
from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.answered import answered_rows
from rowfleet.recipes import loading
from submitter.cli import console, evaluated
from submitter.cli.amounts import Number
from submitter.cli.command import Command
from submitter.cli.options import batch_argument, json_option
from submitter.cli.setup import complete_id, ledger_of, read_settings
from submitter.evaluation import gates, labels
from submitter.evaluation.evaluation import Evaluation, evaluate
from submitter.evaluation.report import saving


@click.command(
    "evaluate",
    cls=Command,
    example="rowfleet evaluate master-refunds-3f9a2c81d04e --against 'Checked basis=basis'",
)
@batch_argument
@click.option(
    "--against",
    multiple=True,
    required=True,
    metavar="COLUMN[=PROPERTY]",
    help="The sheet's column of labels, and the property of the answers that it labels; may be "
    "repeated.",
)
@click.option(
    "--confidence",
    metavar="PROPERTY",
    help="The property that holds the answers' confidence; default: the one called so.",
)
@click.option(
    "--tolerance",
    type=Number(0),
    default=0.005,
    show_default=True,
    help="How far an amount may be from its label and count as right.",
)
@click.option(
    "--fail-under",
    "conditions",
    multiple=True,
    metavar="FIGURE=VALUE",
    help="Exit with 1 if a figure is lower: accuracy=0.95, basis.recall.low=0.8; may be repeated.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="OUT.html",
    help="Write a page with plots, which needs no network.",
)
@json_option
def evaluate_(
    batch_id: str,
    against: tuple[str, ...],
    confidence: str | None,
    tolerance: float,
    conditions: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> int:
    """Say how good a batch's answers are, beside a column of labels.

    Rows whose label is blank are left out; a label `null` says that the answer should have no
    value. Every figure has an interval that holds with 95 % confidence.

    The exit code is 1 if a condition of --fail-under is not met.
    """
    wanted = [gates.parse(each) for each in conditions]
    if html is not None:
        saving.check(html)
    engine = ledger_of(read_settings())
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        recipe = loading.recorded(batch.recipe)
        about = [labels.compared(each, batch, recipe, Decimal(str(tolerance))) for each in against]
        twice = [each.property for each in about]
        for name in twice:
            if twice.count(name) > 1:
                raise InputError(f"--against: {name} is compared twice; leave one out")
        found = evaluate(
            batch,
            recipe,
            about,
            answered_rows(connection, batch_id),
            lambda each, row: labels.label_of(each, row.cells),
            confidence,
        )
    verdicts = list(gates.verdicts(wanted, found))
    if html is not None:
        saving.save(html, found, verdicts)
    if as_json:
        console.print_json(facts(found, verdicts))
    else:
        evaluated.show(found)
        evaluated.show_verdicts(verdicts)
        if html is not None:
            console.say(f"the report is in {html}")
    return ExitCode.DONE if all(each.is_met for each in verdicts) else ExitCode.NOT_ALL_DONE


def facts(evaluation: Evaluation, verdicts: list[gates.Verdict]) -> dict[str, object]:
    """Return what `--json` prints."""
    return {
        **dataclasses.asdict(evaluation),
        "conditions": [dataclasses.asdict(each) for each in verdicts],
    }
