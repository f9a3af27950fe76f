"""`rowfleet try`."""

from __future__ import annotations

from pathlib import Path

import click

from rowfleet.errors import InputError
from rowfleet.exit_codes import ExitCode
from rowfleet.settings import MOST_SLOTS
from rowfleet.storage import location
from submitter.cli import console
from submitter.cli.amounts import DOLLARS, WholeNumber
from submitter.cli.asked import Asked
from submitter.cli.command import Command, importing
from submitter.cli.options import documents_option, json_option, rows_options
from submitter.costs.sample import MOST_SAMPLED
from submitter.local.standby import standing_by
from submitter.sheets.selection import Hidden


def _models(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, ...]:
    models = tuple(each.strip() for each in (text or "").split(",") if each.strip())
    if text is not None and not models:
        raise InputError("--models: names no model; write --models gpt-5-mini,gpt-5")
    for model in models:
        if models.count(model) > 1:
            raise InputError(f"--models: names {model!r} twice")
    return models


@click.command(
    "try",
    cls=Command,
    example="rowfleet try my-recipe.yaml invoices.xlsx --rows 20 --models gpt-5-mini,gpt-5",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("source", type=location.parse, metavar="SHEET.xlsx")
@click.option(
    "--rows",
    "count",
    type=WholeNumber(1, MOST_SAMPLED),
    default=20,
    show_default=True,
    metavar="N",
    help="How many rows to ask about: the first ones that are chosen.",
)
@click.option(
    "--models",
    callback=_models,
    metavar="A,B,C",
    help="The models to ask, one after the other; default: the recipe's, else the setting's.",
)
@rows_options(int, int)
@documents_option
@click.option(
    "--max-cost",
    type=DOLLARS,
    metavar="USD",
    help="What all models together may cost, with what was paid for the same rows before.",
)
@click.option("--slots", type=WholeNumber(1, MOST_SLOTS), metavar="N", help="Rows to run at once.")
@json_option
def trial(
    recipe: Path,
    source: location.Location,
    count: int,
    models: tuple[str, ...],
    sheet: str | None,
    start_row: int,
    num_rows: int | None,
    header_row: int | None,
    maps: tuple[str, ...],
    where: str | None,
    order_by: str | None,
    hidden: Hidden | None,
    keep_totals: bool,
    documents: str | None,
    max_cost: float | None,
    slots: int | None,
    as_json: bool,
) -> int:
    """Try a recipe: ask each model about the same few rows, and show the answers side by side.

    Each model's rows are a batch of `rowfleet local`: a row that was asked before is not paid for
    again, and `rowfleet compare` and `evaluate` work with them. RECIPE is a file, or the name of a
    bundled recipe.

    The exit code is 1 if a row has no answer.
    """
    asked = Asked(
        sheet=sheet,
        start_row=start_row,
        num_rows=num_rows,
        header_row=header_row,
        maps=maps,
        where=where,
        order_by=order_by,
        hidden=hidden,
        keep_totals=keep_totals,
        recipe_file=recipe,
        documents=documents,
        max_cost=max_cost,
    )
    with standing_by(wanted=True) as ready:
        with importing():
            from submitter.cli.runs import trial_run
            from submitter.cli.shown import tried
        found = trial_run.run(asked, source, models, count, slots, ready, as_json=as_json)
    if as_json:
        console.print_json(tried.facts(found))
    else:
        tried.show(found)
    is_whole = all(
        one.progress is not None and all(row.output is not None for row in one.rows)
        for one in found.tried
    )
    return ExitCode.DONE if is_whole else ExitCode.NOT_ALL_DONE
