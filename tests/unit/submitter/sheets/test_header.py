"""Where the header is found, and which headers are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from submitter.sheets.opening import open_sheet
from tests.support.workbooks import HEADER, RECIPE, ROWS, refusal, save


def test_titles_above_the_header_do_no_harm(path: Path) -> None:
    save(
        path,
        [["Refunds 2024"], [], ["by", "Finance"], HEADER, *ROWS],
        lambda sheet: sheet.merge_cells("A1:C1"),
    )
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert sheet.header == tuple(HEADER)
        assert sheet.columns == {"Vendor": 0, "Amount": 2}
        assert [number for number, _ in sheet.rows()] == [0, 1]


def test_empty_columns_without_a_name_are_dropped(path: Path) -> None:
    save(path, [[None, "Vendor", None, "Amount", " "], [None, "Acme", " ", 5, None]])
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert sheet.header == ("Vendor", "Amount")
        assert sheet.columns == {"Vendor": 0, "Amount": 1}
        assert list(sheet.rows()) == [(0, ["Acme", 5])]


def test_missing_columns_are_named(path: Path) -> None:
    save(path, [["Vendor", "Date"], ["a", "b"]])
    assert refusal(path, recipe=RECIPE) == (
        "invoices.xlsx, sheet 'Refunds': the recipe 'test' needs the column Amount, "
        "and the header has only Vendor, Date"
    )


def test_an_empty_header_cell_over_data_is_refused(path: Path) -> None:
    save(path, [["Vendor", None, "Amount"], ["a", None, 1], ["b", "x", 2]])
    assert refusal(path) == (
        "invoices.xlsx, sheet 'Refunds': the header in row 1 has no name for the column B, where "
        "B3 holds a value; give every column with values a name of its own"
    )


def test_a_merged_header_is_refused(path: Path) -> None:
    save(
        path,
        [["Vendor", "Amount", None], ["a", 1, 2]],
        lambda sheet: sheet.merge_cells("B1:C1"),
    )
    assert "no name for the column C (B1:C1 is merged), where C2" in refusal(path)


def test_a_value_right_of_the_header_is_refused(path: Path) -> None:
    save(path, [HEADER, *ROWS, ["c", "d", 1, None, "checked by Bob"]])
    assert "no name for the column E, where E4 holds a value" in refusal(path)


@pytest.mark.parametrize("again", ["Vendor", "vendor", " VEN DOR "])
def test_a_header_that_stands_twice_is_refused(path: Path, again: str) -> None:
    save(path, [["Vendor", "Amount", again], ["a", 1, "b"]])
    sentence = f"row 1: the header {again.strip()!r} stands in columns A and C"
    assert sentence in refusal(path)
