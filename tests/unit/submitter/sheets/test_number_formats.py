"""Each cell keeps its number format, from the sheet to the finished sheet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from rowfleet.cells import Cell, Formatted, decode_all, encode_all, plain, value
from submitter.results.columns import FinishedRow
from submitter.results.writer import write_sheet
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice, select
from submitter.sheets.sheet import Sheet
from tests.support.sheets import CURRENCIES, DATE_FORMATS, mixed_formats
from tests.support.workbooks import RECIPE


def finished(path: Path, sheet: Sheet, rows: Sequence[Sequence[Cell]]) -> Any:
    with path.open("wb") as file:
        write_sheet(
            file,
            path,
            title=sheet.title,
            header=sheet.header,
            formats=sheet.formats,
            result_headers={"answer": "AI_Answer"},
            added=[],
            rows=[
                FinishedRow(n, cells, "done", {"answer": 1}, None) for n, cells in enumerate(rows)
            ],
        )
    return openpyxl.load_workbook(path).worksheets[0]


@pytest.mark.parametrize("by_pattern", [True, False])
def test_currencies_and_dates_come_back_as_they_were(tmp_path: Path, by_pattern: bool) -> None:
    with open_sheet(mixed_formats(tmp_path / "a.xlsx"), by_pattern=by_pattern) as sheet:
        rows = [decode_all(encode_all(cells)) for _, cells in sheet.rows()]
        done = finished(tmp_path / "done.xlsx", sheet, rows)
    assert [cell.number_format for cell in done["E"][1:]] == [*CURRENCIES]
    assert [cell.number_format for cell in done["C"][1:]] == [DATE_FORMATS[n % 4] for n in range(9)]
    assert {cell.value for cell in done["E"][1:]} == {102}
    assert {cell.value for cell in done["C"][1:]} == {datetime(2026, 3, 4)}
    assert {cell.number_format for cell in done["G"][1:]} == {"General"}


@pytest.mark.parametrize("by_pattern", [True, False])
def test_a_model_is_sent_what_a_person_sees(tmp_path: Path, by_pattern: bool) -> None:
    with open_sheet(mixed_formats(tmp_path / "a.xlsx"), by_pattern=by_pattern) as sheet:
        rows = [cells for _, cells in sheet.rows()]
    assert [plain(cells[4]) for cells in rows] == [*CURRENCIES.values()]
    assert {plain(cells[2]) for cells in rows} == {"2026-03-04"}
    assert {value(cells[4]) for cells in rows} == {102}
    assert [cells[5] for cells in rows] == [*range(9)]  # as in the column, and digits alone


def test_a_column_of_one_currency_says_it_in_each_row(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for amount in ("Amount", 1, 2, "n/a", 3):
        sheet.append([amount])
    for row in range(2, 6):
        sheet.cell(row, 1).number_format = '"£"0.00'
    book.save(tmp_path / "a.xlsx")
    with open_sheet(tmp_path / "a.xlsx") as opened:
        rows = [cells for _, (cells,) in opened.rows()]
    assert [plain(cell) for cell in rows] == ["£1.00", "£2.00", "n/a", "£3.00"]


def test_a_column_of_one_plain_format_carries_none(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row, cells in enumerate((["Amount", "Date"], [1, datetime(2026, 1, 2)], [2, None]), 1):
        sheet.append(cells)
        sheet.cell(row, 1).number_format = "#,##0.00"
        sheet.cell(row, 2).number_format = "dd/mm/yyyy"
    book.save(tmp_path / "a.xlsx")
    with open_sheet(tmp_path / "a.xlsx") as opened:
        assert [cells for _, cells in opened.rows()] == [[1, datetime(2026, 1, 2)], [2, None]]


def test_the_built_in_format_for_accounts_shows_its_currency(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for amount in ("Amount", 1234.5, -7):
        sheet.append([amount])
    for row in (2, 3):
        sheet.cell(row, 1).number_format = openpyxl.styles.numbers.BUILTIN_FORMATS[44]
    book.save(tmp_path / "a.xlsx")
    with open_sheet(tmp_path / "a.xlsx") as opened:
        rows = [cell for _, (cell,) in opened.rows()]
    assert [plain(cell) for cell in rows] == ["$1,234.50", "$(7.00)"]
    assert all(isinstance(cell, Formatted) for cell in rows)


def test_conditions_orders_and_totals_see_numbers(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    amounts = [9, 100, 20, 129]
    for cells in (["Vendor", "Amount"], *zip(["a", "b", "c", None], amounts, strict=True)):
        sheet.append(list(cells))
    for row in range(2, 6):
        sheet.cell(row, 2).number_format = '"£"0.00'
    book.save(tmp_path / "a.xlsx")
    recipe = RECIPE.model_copy(update={"identity": ("Vendor",)})
    with open_sheet(tmp_path / "a.xlsx", recipe=recipe) as opened:
        above = select(opened, Choice(where="Amount > 9.5"), recipe, ())
        assert [number for number, _ in above.sheet.rows()] == [1, 2]
        ordered = select(opened, Choice(order_by="Amount:desc"), recipe, ())
        assert [*ordered.ranks][:3] == [2, 0, 1]
        assert [number for number, _ in ordered.below.totals] == [3]
