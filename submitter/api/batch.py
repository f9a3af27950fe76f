"""A batch of Python's rows: it is prepared as that of a sheet, and run by the same engine."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import batch_records, reviews
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import load_settings
from submitter.api import models, python_rows
from submitter.cli.asked import Asked
from submitter.cli.run import check_not_stopped
from submitter.cli.runs import fleet_run, local_run
from submitter.cli.setup import agreed_terms, documents_of, recipe_of, with_a_ledger
from submitter.local.broker import starting_broker
from submitter.local.standby import Standby
from submitter.progress import watching
from submitter.results import columns
from submitter.results.columns import FinishedRow
from submitter.sheets.selection import Choice
from submitter.submission.lookup_tables import with_tables
from submitter.submission.submission import prepare

#: All rows: a program does not pass totals below its data, as a sheet does.
_ALL = Choice(keep_totals=True)


def answered(
    rows: Any,
    recipe: Any,
    ready: list[Standby],
    *,
    prompt: str | None,
    model: str | None,
    analyzer: str | None,
    slots: int | None,
    max_cost: float | None,
    dedupe: bool,
    batch_id: str | None,
    documents: str | PathLike[str] | None,
    fleet: bool,
) -> Any:
    """Return the rows with their answers; see `rowfleet.run`."""
    table = python_rows.of(rows)
    is_model = models.is_model(recipe)
    if prompt is not None and not is_model:
        raise InputError("prompt goes with a pydantic model; a recipe has one of its own")
    asked = Asked(
        recipe_file=None if recipe is None or is_model else Path(recipe),
        model=model,
        analyzer=analyzer,
        batch_id=batch_id,
        max_cost=max_cost,
        dedupe=dedupe,
        documents=None if documents is None else fspath(documents),
    )
    named = load_settings(slots=slots)
    settings = with_a_ledger(named)
    question = recipe_of(asked, settings, models.recipe_of(recipe, prompt) if is_model else None)
    local_run.check_key(question, settings)
    for name, lookup in question.lookups.items():
        if lookup.sheet is not None:
            raise InputError(f"lookups.{name}: is a sheet of the workbook, and there is none")
    question = with_tables(question, Path(), python_rows.NAME, asked.recipe_file)
    with ExitStack() as stack:
        is_alone = settings.redis_url is None and not fleet
        broker = stack.enter_context(starting_broker()) if is_alone else None
        submission = prepare(
            python_rows.sheet(table, question, columns.answer_headers(question)),
            _ALL,
            question,
            queue=settings.queue,
            batch_id=batch_id,
            terms=agreed_terms(question, settings, asked),
            documents=documents_of(question, settings, asked),
        )
        if fleet:
            engine, feeder, submission, _ = fleet_run.recorded(named, submission)
            progress = watching.until_ended(
                engine, submission.batch_id, show=lambda _: None, feeder=feeder
            )
        else:
            engine, progress = local_run.carry_out(
                stack, settings, submission, broker, ready, show=lambda _: None
            )
        check_not_stopped(progress)
        return python_rows.with_answers(rows, table, _answers(engine, progress.batch_id, question))


def _answers(engine: Engine, batch_id: str, recipe: Recipe) -> python_rows.Answers:
    """Return the columns of a finished sheet: their headers, and their values by the rows."""
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        added = columns.added_to(batch, is_reviewed=reviews.is_reviewed(connection, batch_id))
        fields = loading.recorded(batch.recipe).headers()
        # The batch may be one with other headers, recorded from a sheet of the same rows.
        headers = [recipe.headers().get(name, header) for name, header in fields.items()]
        values: dict[int, list[Any]] = {}
        for row in recorded_rows(connection, batch_id, with_cells=False):
            finished = FinishedRow.of(row)
            output = finished.values or {}
            values[row.number] = [
                *(output.get(name) for name in fields),
                *(column.value(finished) for column in added),
            ]
    return python_rows.Answers([*headers, *(column.header for column in added)], values)
