"""A trial of a recipe: the same few rows, answered by each of several models under one budget."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from rowfleet.documents.places.root import Root
from rowfleet.errors import InputError
from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import rows_numbered
from rowfleet.ledger.records import Progress, SampledRow
from rowfleet.ledger.statuses import Tier
from rowfleet.prices import LEAST_DOLLARS
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from rowfleet.storage import location
from submitter.cli import console
from submitter.cli.asked import Asked
from submitter.cli.run import announce, said_how_to_go_on
from submitter.cli.runs.local_run import carry_out, check_key
from submitter.cli.setup import (
    agreed_terms,
    documents_of,
    kind_of,
    opened_sheet,
    read_settings,
    recipe_of,
)
from submitter.local.broker import starting_broker
from submitter.local.standby import Standby
from submitter.progress import display
from submitter.results import columns
from submitter.sheets.selection import Choice, select
from submitter.sheets.sheet import Sheet
from submitter.submission.submission import Terms, prepare


@dataclass(frozen=True, slots=True)
class Tried:
    """What one model made of the rows."""

    model: str
    #: None: the budget was spent before it.
    progress: Progress | None
    rows: tuple[SampledRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """What each model made of the same rows."""

    recipe: Recipe
    #: The numbers of the rows as a spreadsheet program shows them.
    rows: tuple[int, ...]
    tried: tuple[Tried, ...]


def run(
    asked: Asked,
    source: location.Location,
    models: tuple[str, ...],
    count: int,
    slots: int | None,
    ready: list[Standby],
    *,
    as_json: bool,
) -> Trial:
    """Let each model answer the first ``count`` rows that are chosen, one model after the other.

    Each model's rows are a batch as `rowfleet local` makes it, so what was paid for before is not
    paid for again. The budget is that of all these batches together.
    """
    settings = read_settings(slots=slots)
    recipe = recipe_of(asked, settings)
    check_key(recipe, settings)
    assert recipe.model is not None
    if models and not kind_of(recipe).asks_a_model:
        raise InputError(f"--models: {kind_of(recipe).name} asks no model; leave it out")
    recipes = [recipe.model_copy(update={"model": each}) for each in models or (recipe.model,)]
    documents = documents_of(recipe, settings, asked)
    terms = [agreed_terms(each, settings, asked) for each in recipes]
    with said_how_to_go_on(), opened_sheet(source, asked, recipe, settings) as (opened, joined):
        rows = _first(opened, asked.rows, joined, count)
        tried: list[Tried] = []
        for each, agreed in zip(recipes, terms, strict=True):
            assert each.model is not None
            left = _left(asked.max_cost, tried)
            if left is not None and left < LEAST_DOLLARS:
                tried.append(Tried(each.model, None))
                continue
            about = joined.model_copy(update={"model": each.model})
            within = dataclasses.replace(agreed, max_cost=left)
            one = _try(opened, rows, about, within, settings, source, documents, ready, as_json)
            tried.append(one)
    numbers = sorted({row.row for one in tried for row in one.rows})
    return Trial(joined, tuple(numbers), tuple(tried))


def _first(sheet: Sheet, rows: Choice, recipe: Recipe, count: int) -> Choice:
    """Return the range that ends with the last of the first ``count`` rows that are chosen."""
    chosen = select(sheet, rows, recipe, columns.answer_headers(recipe).every).sheet.filled
    last = -1
    for _ in range(count):
        following = chosen.find(1, last + 1)
        if following < 0:
            break
        last = following
    return dataclasses.replace(rows, num_rows=last + 1 - rows.start_row)


def _left(budget: float | None, tried: list[Tried]) -> float | None:
    """Return the dollars that the models before have left; None without a budget."""
    if budget is None:
        return None
    spent = sum(one.progress.cost_usd or 0.0 for one in tried if one.progress is not None)
    return budget - spent


def _try(
    sheet: Sheet,
    rows: Choice,
    recipe: Recipe,
    terms: Terms,
    settings: Settings,
    source: location.Location,
    documents: Root | None,
    ready: list[Standby],
    as_json: bool,
) -> Tried:
    assert recipe.model is not None
    with ExitStack() as stack:
        broker = stack.enter_context(starting_broker()) if settings.redis_url is None else None
        submission = prepare(
            sheet,
            rows,
            recipe,
            queue=settings.queue,
            batch_id=None,
            terms=terms,
            tier=Tier.WORKERS,
            source=source,
            documents=documents,
        )
        with display.display(console.err if as_json else console.out, quiet=as_json) as show:
            engine, progress = carry_out(
                stack,
                settings,
                submission,
                broker,
                ready,
                begun=partial(announce, as_json=False),
                show=show,
            )
    numbers = [n for n, is_there in enumerate(submission.sheet.filled) if is_there]
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, progress.batch_id)
        return Tried(recipe.model, progress, tuple(rows_numbered(connection, batch, numbers)))
