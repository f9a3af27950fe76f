"""Options of the command line, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rowfleet import analyzer_kinds
from rowfleet.recipes.recipe import DEFAULT_RECIPE
from submitter.cli.amounts import DOLLARS, WholeNumber
from submitter.costs.sample import MOST_SAMPLED
from submitter.storage import location

#: The release that `helm install rowfleet …` makes.
DEFAULT_RELEASE = "rowfleet"


class AnalyzerName(click.Choice[str]):
    """The analyzers. Plug-ins are looked up when the option is read or shown, not on import."""

    def __init__(self) -> None:
        self.case_sensitive = True

    @property
    def choices(self) -> list[str]:  # type: ignore[override]
        """The names of all analyzers."""
        return analyzer_kinds.names()


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
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

asked_options = together(
    click.option("--sheet", metavar="NAME", help="Sheet of the workbook; default: the first."),
    click.option(
        "--start-row",
        type=int,
        default=0,
        metavar="N",
        help="First data row to take, counted from 0 below the header.",
    ),
    click.option("--num-rows", type=int, metavar="N", help="Rows to take; default: all the rest."),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What to ask, as YAML; default: what the batch of --batch-id was asked, else the "
        f"bundled {DEFAULT_RECIPE}.",
    ),
    click.option("--model", metavar="MODEL", help="Model to ask; wins over recipe and setting."),
    click.option(
        "--analyzer",
        type=AnalyzerName(),
        help="Who answers: a model, or rules that compute offline; wins over recipe and setting.",
    ),
    click.option(
        "--batch-id",
        metavar="ID",
        help="Name the batch; default: an id from its content, so that equal content continues.",
    ),
    click.option(
        "--export",
        "export_to",
        type=location.parse,
        metavar="OUT.xlsx",
        help="Write the finished sheet there at the end; a path or a URI, as for a sheet to read.",
    ),
)

terms_options = together(
    click.option(
        "--max-cost",
        type=DOLLARS,
        metavar="USD",
        help="Start no more rows when the batch has cost so much; default: no limit.",
    ),
    click.option(
        "--sample",
        "sample_size",
        type=WholeNumber(1, MOST_SAMPLED),
        metavar="N",
        help="Run N random rows, and show them and what the rest would cost; the rest waits for "
        "rowfleet resume, or for the same command without this.",
    ),
    click.option(
        "--dedupe",
        is_flag=True,
        help="Ask once about rows whose sent cells are the same, and give all the answer.",
    ),
)

where_options = together(
    click.option("-n", "--namespace", metavar="NAME", help="Namespace; default: the context's."),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
    click.option(
        "--release",
        metavar="NAME",
        help=f"Release of the Helm chart; default: {DEFAULT_RELEASE}.",
    ),
)
