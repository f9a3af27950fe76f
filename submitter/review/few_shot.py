"""Reviewed rows as examples for a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rowfleet import cells as row_cells
from rowfleet.cells import plain
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import batch_records, reviews
from rowfleet.ledger.queries.rows import rows_by_number
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.ledger.statuses import Verdict
from rowfleet.masking import printable
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe


def examples(engine: Engine, batch_id: str, count: int) -> str:
    """Return up to ``count`` reviewed rows as the YAML of a recipe's `examples`.

    Rows that a person corrected come before those that were approved, since the model was wrong
    about them. Among each, rows with different answers take turns. Raises InputError if no row is
    reviewed, and where answers cite documents.
    """
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        numbers = reviews.numbers_with_values(connection, batch_id)
        if not numbers:
            raise InputError(f"no row of {batch_id} is approved or corrected by a person yet")
        recipe = loading.recorded(batch.recipe)
        if recipe.evidence is not None:
            raise InputError(
                f"the answers of {batch_id} cite documents, which no example of a recipe holds; "
                "write its examples by hand"
            )
        classes: dict[tuple[bool, str], list[int]] = {}
        for start in range(0, len(numbers), reviews.CHUNK):
            part = rows_by_number(connection, batch_id, numbers[start : start + reviews.CHUNK])
            for number, row in sorted(part.items()):
                classes.setdefault(_class(recipe, row), []).append(number)
        chosen = _taking_turns(classes, count)
        rows = rows_by_number(connection, batch_id, chosen)
    listed = [_example(batch, recipe, rows[number]) for number in chosen]
    text = yaml.safe_dump(listed, allow_unicode=True, sort_keys=False, width=100)
    if printable(text, keep="\n") == text:
        return text
    # With all but ASCII escaped, nothing in it is obeyed by a terminal.
    return yaml.safe_dump(listed, allow_unicode=False, sort_keys=False, width=100)


def _class(recipe: Recipe, row: RecordedRow) -> tuple[bool, str]:
    """Return whether a row was only approved, and its values that are one of a few."""
    values = row.values or {}
    few = [
        name
        for name, schema in recipe.output["properties"].items()
        if isinstance(schema, Mapping) and ("enum" in schema or schema.get("type") == "boolean")
    ]
    is_approved = row.decision is not None and row.decision.verdict == Verdict.APPROVE
    return is_approved, repr([values.get(name) for name in few])


def _taking_turns(classes: Mapping[tuple[bool, str], list[int]], count: int) -> list[int]:
    """Return up to ``count`` rows: the corrected ones first, in turns by class."""
    found: list[int] = []
    for approved in (False, True):
        waiting = [list(rows) for (each, _), rows in sorted(classes.items()) if each == approved]
        while waiting and len(found) < count:
            found += [rows.pop(0) for rows in waiting]
            waiting = [rows for rows in waiting if rows]
    return found[:count]


def _example(batch: BatchRecord, recipe: Recipe, row: RecordedRow) -> dict[str, Any]:
    """Return the row as a model is sent it, and its final values."""
    cells = row_cells.sent(batch.columns, row.cells) | row_cells.shown(batch.columns, row.cells)
    values = row.values or {}
    return {
        "row": {name: plain(cell) for name, cell in cells.items()},
        "answer": {name: values.get(name) for name in recipe.output["properties"]},
    }
