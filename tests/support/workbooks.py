"""Workbooks with one part changed, and what opening them gives."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.opening import open_sheet

HEADER = ["Vendor", "Invoice Number", "Amount"]
ROWS: list[list[Any]] = [["Acme", "0017", 12.5], ["Globex", "18", 7]]
SHEET_PART = "xl/worksheets/sheet1.xml"
NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RECIPE = Recipe(
    name="test",
    prompt="Look.",
    columns=("Vendor", "Amount"),  # type: ignore[arg-type]  # names become columns
    output={"type": "object", "properties": {"ok": {"type": "boolean"}}},
)


def save(
    path: Path,
    rows: Sequence[Sequence[Any]] = (HEADER, *ROWS),
    change: Callable[[Any], object] | None = None,
) -> Path:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Refunds"
    for row in rows:
        sheet.append(list(row))
    if change:
        change(sheet)
    book.save(path)
    return path


def rewrite(path: Path, part: str, change: Callable[[bytes], bytes]) -> None:
    """Change one part of the workbook at ``path``."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)


def with_rows(path: Path, xml: str) -> Path:
    """Make a workbook whose worksheet holds exactly the row elements ``xml``."""
    save(path)
    sheet = f'<worksheet xmlns="{NS}"><sheetData>{xml}</sheetData></worksheet>'
    rewrite(path, SHEET_PART, lambda _: sheet.encode())
    return path


def text(ref: str, value: str) -> str:
    return f'<c r="{ref}" t="inlineStr"><is><t>{value}</t></is></c>'


def with_shared(path: Path, xml: str, strings: Sequence[str]) -> Path:
    """Make a workbook of the row elements ``xml`` and a table of shared strings."""
    with_rows(path, xml)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    part = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    types = "[Content_Types].xml"
    rewrite(path, types, lambda old: old.replace(b"</Types>", part.encode()))
    table = "".join(f"<si><t>{string}</t></si>" for string in strings)
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("xl/sharedStrings.xml", f'<sst xmlns="{NS}">{table}</sst>')
    return path


def shared(ref: str, index: int) -> str:
    return f'<c r="{ref}" t="s"><v>{index}</v></c>'


def read(path: Path, *args: int, **options: Any) -> list[tuple[int, list[Cell]]]:
    with open_sheet(path, **options) as sheet:
        return list(sheet.rows(*args))


def refusal(path: Path, sheet: str | None = None, recipe: Recipe | None = None) -> str:
    """Return the sentence with which opening the sheet is refused, without its folder."""
    with pytest.raises(InputError) as caught, open_sheet(path, sheet, recipe=recipe):
        pass
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path.parent}/")
