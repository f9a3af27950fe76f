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
from rowfleet.ledger.queries.reviews import history
from rowfleet.recipes import loading
from submitter.cli import console
from submitter.cli.amounts import Number
from submitter.cli.command import Command
from submitter.cli.options import batch_argument, json_option, labels_option, tolerance_option
from submitter.cli.setup import complete_id, ledger_of, read_settings
from submitter.cli.shown import evaluated, proposal
from submitter.evaluation import gates, labels, reviewed, threshold
from submitter.evaluation.evaluation import Evaluation, evaluate
from submitter.evaluation.pairing import Paired
from submitter.evaluation.report import saving


@click.command(
    "evaluate",
    cls=Command,
    example="rowfleet evaluate master-refunds-3f9a2c81d04e --against 'Checked basis=basis'",
)
@batch_argument
@labels_option
@click.option(
    "--against-reviews",
    is_flag=True,
    help="Compare with what people decided in a review, instead of with columns.",
)
@click.option(
    "--confidence",
    metavar="PROPERTY",
    help="The property that holds the answers' confidence; default: the one called so.",
)
@tolerance_option
@click.option(
    "--fail-under",
    "conditions",
    multiple=True,
    metavar="FIGURE=VALUE",
    help="Exit with 1 if a figure is lower: accuracy=0.95, basis.recall.low=0.8; may be repeated.",
)
@click.option(
    "--cascade",
    "strong_id",
    metavar="BATCH",
    help="The same rows answered by a stronger model: propose from which confidence on the "
    "answers of the first may stand.",
)
@click.option(
    "--margin",
    type=Number(0, 1),
    default=0.02,
    show_default=True,
    help="What the cascade may lose of the stronger model's accuracy: 0.02 is two points.",
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
    against_reviews: bool,
    confidence: str | None,
    tolerance: float,
    conditions: tuple[str, ...],
    strong_id: str | None,
    margin: float,
    html: Path | None,
    as_json: bool,
) -> int:
    """Say how good a batch's answers are, beside a column of labels.

    With --against-reviews labels are what people decided: a row that was approved is right, and
    one that was rejected is wrong.

    With --cascade it proposes the cheapest threshold of a cascade: answers below it go to the
    stronger model, and the accuracy is, with 95 % confidence, not more than --margin below it.

    Rows whose label is blank are left out; a label `null` says that the answer should have no
    value. Every figure has an interval that holds with 95 % confidence.

    The exit code is 1 if a condition of --fail-under is not met.
    """
    wanted = [gates.parse(each) for each in conditions]
    if html is not None:
        saving.check(html)
    if strong_id is not None and not against:
        raise InputError("--cascade: labels come from columns; give --against COLUMN[=PROPERTY]")
    if bool(against) == against_reviews:
        raise InputError("give --against COLUMN[=PROPERTY], or --against-reviews")
    engine = ledger_of(read_settings())
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        recipe = loading.recorded(batch.recipe)
        within = Decimal(str(tolerance))
        if against_reviews:
            about = reviewed.properties(recipe, confidence, within)
            label_of = reviewed.Reviewed(history(connection, batch_id)).label_of
        else:
            about = labels.all_compared(against, batch, recipe, within)
            label_of = labels.in_sheet
        rows = answered_rows(connection, batch_id)
        found = evaluate(batch, recipe, about, rows, label_of, confidence)
        proposed = None
        if strong_id is not None:
            strong = batch_records.get_batch(
                connection, batch_records.complete_id(connection, strong_id)
            )
            paired = Paired(connection, batch, strong)
            proposed = threshold.of_batches(paired, recipe, about, confidence, margin)
    if against_reviews:
        found = dataclasses.replace(found, notes=(reviewed.NOT_AT_RANDOM, *found.notes))
    verdicts = list(gates.verdicts(wanted, found))
    if html is not None:
        saving.save(html, found, verdicts)
    if as_json:
        cascade = None if proposed is None else dataclasses.asdict(proposed)
        console.print_json({**facts(found, verdicts), "cascade": cascade})
    else:
        evaluated.show(found)
        if proposed is not None:
            proposal.show(proposed)
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
