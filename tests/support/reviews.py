"""A batch whose rows need review, and a person who decides on them in the workbook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.worksheet.worksheet import Worksheet
from sqlalchemy import Engine, update

from rowfleet.answers import reasons
from rowfleet.answers.reasons import Reason
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import reviews
from rowfleet.ledger.transitions.tallies import write_tallies
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice
from submitter.submission import recording
from submitter.submission.submission import prepare
from tests.support.workbooks import save

RECIPE = Recipe.model_validate(
    {
        "name": "audit",
        "analyzer": "openai",
        "model": "gpt-5-mini",
        "prompt": "Is money due back?",
        "columns": [{"name": "Vendor"}, {"name": "Amount"}, {"name": "File", "required": False}],
        "output": {
            "type": "object",
            "properties": {
                "basis": {"type": "string", "enum": ["none", "duplicate", "tax"]},
                "refund": {"type": "number", "minimum": 0},
                "due": {"type": "boolean"},
                "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
                "tags": {"type": "array", "items": {"type": "string"}},
                "why": {"type": ["string", "null"]},
            },
        },
    }
)
#: A column of the person's own has the name of one of the review's.
HEADER = ["Vendor", "Amount", "Note", "File"]


def answer(number: int) -> dict[str, Any]:
    return {
        "basis": "tax",
        "refund": number + 0.25,
        "due": True,
        "confidence": 50 + number % 50,
        "tags": ["a", "b"],
        "why": f"row {number}",
    }


def submitted(engine: Engine, folder: Path, count: int, recipe: Recipe = RECIPE) -> Path:
    """Record a batch `b` of a workbook, whose rows are all done and need review."""
    source = save(
        folder / "refunds.xlsx",
        [["Refunds of 2026"], HEADER]
        + [[f"V{n}", n * 10, f"my note {n}", f"https://f.example/{n}.pdf"] for n in range(count)],
    )
    with open_sheet(source, recipe=recipe) as sheet:
        asked = prepare(sheet, Choice(), recipe, queue="q", batch_id="b", source=source)
        recording.record(engine, None, asked)
    why = reasons.encode([Reason("confidence", "it is low", "confidence")])
    with engine.begin() as connection:
        for number in range(count):
            connection.execute(
                update(Row)
                .where(Row.number == number)
                .values(
                    status="done",
                    output=answer(number),
                    review="needs_review",
                    review_reasons=why,
                )
            )
        connection.execute(update(Batch).values(status="finished"))
        write_tallies(connection, "test", {"b": {"done": count, "needs_review": count}})
    return source


def edit(path: Path, change: Callable[[Worksheet, dict[str, int]], None]) -> None:
    """Change the review's sheet as a person does; columns are given by their headers."""
    book = openpyxl.load_workbook(path)
    sheet = book["AI_Review"]
    columns = {str(cell.value): cell.column for cell in sheet[1]}
    change(sheet, columns)
    book.save(path)


def fill(path: Path, row: int, **cells: Any) -> None:
    """Fill in cells of one row of the review's sheet."""

    def change(sheet: Worksheet, columns: dict[str, int]) -> None:
        for header, value in {"Reviewer": "Ann", **cells}.items():
            sheet.cell(row, columns[header.replace("Correction_AI", "Correction AI")], value)

    edit(path, change)


def decide_all(sheet: Worksheet, columns: dict[str, int]) -> None:
    """Decide each row by its number: approve, correct or reject."""
    for row in range(2, sheet.max_row + 1):
        number = sheet.cell(row, columns["Row"]).value - 3
        verdict = ("approve", "correct", "reject")[number % 3]
        sheet.cell(row, columns["Decision"], verdict)
        sheet.cell(row, columns["Reviewer"], "Ann")
        sheet.cell(row, columns["Note"], f"seen {number}")
        if verdict == "correct":
            sheet.cell(row, columns["Correction AI_Basis"], "duplicate")
            sheet.cell(row, columns["Correction AI_Refund"], number * 2)


def kept(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [
            (each.number, each.version, each.verdict, each.reviewer, each.note, each.after)
            for each in reviews.history(connection, "b")
        ]


def lines(path: Path, sheet: str) -> list[dict[str, Any]]:
    """Return the rows of a sheet below its header, as header → value."""
    rows = openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True)
    found = [list(row) for row in rows]
    top = next(at for at, row in enumerate(found) if None not in row[:3])
    return [dict(zip(found[top], row, strict=True)) for row in found[top + 1 :]]
