"""Options of the command line, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from rowfleet import analyzer_kinds
from rowfleet.ledger.statuses import Tier
from rowfleet.recipes.recipe import DEFAULT_RECIPE
from rowfleet.storage import location, schemes
from submitter.cli.amounts import DOLLARS, PERCENT, Number, WholeNumber
from submitter.costs.sample import MOST_SAMPLED
from submitter.sheets.selection import Hidden

#: The release that `helm install rowfleet …` makes.
DEFAULT_RELEASE = "rowfleet"


class AnalyzerName(click.Choice[str]):
    """The analyzers. Plug-ins are looked up when the option is read or shown, not on import."""

    def __init__(self) -> None:
        self.case_sensitive = True

    @property
    def choices(self) -> list[str]:  # type: ignore[override]  # click has an attribute here
        """The names of all analyzers."""
        return analyzer_kinds.names()


#: A decorator that adds options to a command.
Option = Callable[[Any], Any]


def together(*decorators: Option) -> Option:
    """Return the decorators as one, which applies them in the order of the help."""

    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for a script to read."
)

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check everything and estimate; send and record nothing."
)

batch_argument = click.argument("batch_id")

labels_option = click.option(
    "--against",
    multiple=True,
    metavar="COLUMN[=PROPERTY]",
    help="The sheet's column of labels, and the property of the answers that it labels; may be "
    "repeated.",
)

tolerance_option = click.option(
    "--tolerance",
    type=Number(0),
    default=0.005,
    show_default=True,
    help="How far amounts may be apart and count as the same.",
)

wait_option = click.option(
    "--wait", is_flag=True, help="Stay until the batch has ended; exit with its code."
)

plain_option = click.option(
    "--plain",
    is_flag=True,
    help="Write a new workbook with one sheet, instead of your own with the answers in it.",
)

source_option = click.option(
    "--source",
    type=location.parse,
    metavar="SHEET.xlsx",
    help="The workbook that was submitted; default: where it was read.",
)

overwrite_option = click.option(
    "--overwrite",
    is_flag=True,
    help="Write over a file that the batch did not write, or that was changed since.",
)

#: How a finished sheet is written, and where.
export_options = together(
    click.option(
        "--export",
        "export_to",
        type=location.parse,
        metavar="OUT.xlsx",
        help="Write the finished sheet there at the end; a path or a URI, as for a sheet to read.",
    ),
    plain_option,
    overwrite_option,
)

urgent_option = click.option(
    "--urgent", is_flag=True, help="Let its rows go before those of other batches."
)

tier_option = click.option(
    "--tier",
    type=click.Choice([tier.value for tier in Tier]),
    callback=lambda _context, _option, value: None if value is None else Tier(value),
    help="Who runs the rows: the workers, or OpenAI's Batch API at half the price, within a day.",
)

answer_options = together(
    click.option("--model", metavar="MODEL", help="Model to ask; wins over recipe and setting."),
    click.option(
        "--analyzer",
        type=AnalyzerName(),
        help="Who answers: a model, or rules that compute offline; wins over recipe and setting.",
    ),
)


def rows_options(start: type[int] | click.IntRange, number: type[int] | click.IntRange) -> Option:
    """Return the options that choose sheet, columns and rows, with the types of the two numbers."""
    return together(
        click.option("--sheet", metavar="NAME", help="Sheet of the workbook; default: the first."),
        click.option(
            "--start-row",
            type=start,
            default=0,
            metavar="N",
            help="First data row to take, counted from 0 below the header.",
        ),
        click.option(
            "--num-rows", type=number, metavar="N", help="Rows to take; default: all the rest."
        ),
        click.option(
            "--header-row",
            type=WholeNumber(1),
            metavar="N",
            help="The header's row, as the sheet numbers it; default: the one that fits best.",
        ),
        click.option(
            "--map",
            "maps",
            multiple=True,
            metavar="HEADER=NAME",
            help="The sheet's column HEADER is the recipe's column NAME; may be repeated.",
        ),
        click.option(
            "--where",
            metavar="EXPRESSION",
            help="Only rows that meet a condition in CEL: 'Paid == \"PAID\" && Amount > 100'.",
        ),
        click.option(
            "--order-by",
            metavar="COLUMN[:desc]",
            help="Run the rows in the order of a column, not in that of the sheet.",
        ),
        click.option(
            "--hidden",
            type=click.Choice(get_args(Hidden)),
            help="What to do with rows that are hidden or filtered out; default: include.",
        ),
        click.option(
            "--keep-totals",
            is_flag=True,
            help="Take rows of totals and others below the data, too; default: they are left out.",
        ),
    )


def batch_id_option(more: str = "") -> Option:
    """Return the option that names the batch; ``more`` ends the sentence of its help."""
    return click.option(
        "--batch-id",
        metavar="ID",
        help=f"Name the batch; default: an id from its content{more}.",
    )


def terms_options(more_of_sample: str = "") -> Option:
    """Return the options of the terms; ``more_of_sample`` ends the sentence of --sample's help."""
    return together(
        click.option(
            "--max-cost",
            type=DOLLARS,
            metavar="USD",
            help="Start no more rows when the batch has cost so much; default: no limit.",
        ),
        click.option(
            "--max-failures",
            type=PERCENT,
            metavar="PERCENT",
            help="Stop when more of the last rows failed or need review; default: 95%.",
        ),
        click.option(
            "--sample",
            "sample_size",
            type=WholeNumber(1, MOST_SAMPLED),
            metavar="N",
            help=f"Run N random rows, and show them and what the rest would cost{more_of_sample}.",
        ),
        click.option(
            "--dedupe",
            is_flag=True,
            help="Ask once about rows whose sent cells are the same, and give all the answer.",
        ),
    )


documents_option = click.option(
    "--documents",
    metavar="DIR",
    help="The folder of the files that rows name; a path, or "
    f"{schemes.listed(schemes.object_stores(), ' or ')}; default: ROWFLEET_DOCUMENTS.",
)

#: What `submit` and `local` take.
submission_options = together(
    # The sheet itself says which of its rows there are.
    rows_options(int, int),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What to ask, as YAML; default: what the batch of --batch-id was asked, else the "
        f"bundled {DEFAULT_RECIPE}.",
    ),
    documents_option,
    answer_options,
    batch_id_option(", so that equal content continues"),
    export_options,
    terms_options("; the rest waits for rowfleet resume, or for the same command without this"),
)

#: The options of `submit` that `launch` hands on as they are, in the order of the Job's command
#: line. The Job's name comes from that line, so a new option goes to the end of those with a value
#: or of those without.
HANDED_ON = (
    "--sheet",
    "--start-row",
    "--num-rows",
    "--model",
    "--analyzer",
    "--batch-id",
    "--max-cost",
    "--sample",
    "--tier",
    "--header-row",
    "--map",
    "--where",
    "--order-by",
    "--hidden",
    "--max-failures",
    "--documents",
    "--urgent",
    "--dedupe",
    "--keep-totals",
    "--plain",
    "--overwrite",
)


def handed_on(context: click.Context) -> dict[str, object]:
    """Return the values of those options by the options' names."""
    names = {flag: option.name for option in context.command.params for flag in option.opts}
    return {flag: context.params[str(names[flag])] for flag in HANDED_ON}


where_options = together(
    click.option("-n", "--namespace", metavar="NAME", help="Namespace; default: the context's."),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
    click.option(
        "--release",
        metavar="NAME",
        help=f"Release of the Helm chart; default: {DEFAULT_RELEASE}.",
    ),
)
