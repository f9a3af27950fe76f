"""Comma-separated values are read as a sheet is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowfleet.cells import Cell
from submitter.excel import MAX_CELL_CHARS
from submitter.sheets.opening import open_sheet
from tests.support.workbooks import RECIPE, read, refusal


def csv(path: Path, content: str | bytes) -> Path:
    path = path.with_suffix(".csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_is_read_like_a_sheet(path: Path, delimiter: str) -> None:
    lines = [["Refunds 2024"], [], ["Vendor", "Amount"], ["Ac,me; x", "12.50"], [], ["B", "7.25"]]
    quoted = [[f'"{cell}"' if " " in cell else cell for cell in line] for line in lines]
    file = csv(path, "\r\n".join(map(delimiter.join, quoted)))
    with open_sheet(file, recipe=RECIPE) as sheet:
        assert sheet.title == "invoices"
        assert sheet.header == ("Vendor", "Amount")
        assert sheet.formats == ("General", "0.00")
        assert list(sheet.rows()) == [(0, ["Ac,me; x", 12.5]), (2, ["B", 7.25])]
        assert list(sheet.rows(1, 2)) == [(2, ["B", 7.25])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_csvs_encoding_is_found(path: Path, encoding: str) -> None:
    assert read(csv(path, "Größe,B\né€,x\n".encode(encoding))) == [(0, ["é€", "x"])]


def test_a_csv_in_no_known_encoding_is_refused(path: Path) -> None:
    assert refusal(csv(path, b"A,B\n\x81\xff,x\n")) == (
        "invoices.csv: its text is neither UTF-8 nor cp1252; save it as UTF-8"
    )


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (["1", "22", "-3"], [1, 22, -3]),
        (["1.50", "2.25"], [1.5, 2.25]),
        (["1.5", "2.25", "3"], [1.5, 2.25, 3]),
        (["1.50", "2"], ["1.50", "2"]),
        (["1", "007"], ["1", "007"]),
        (["1", "n/a"], ["1", "n/a"]),
        (["1", "+2"], ["1", "+2"]),
        (["1e5", "2"], ["1e5", "2"]),
        (["1234567890123456"], ["1234567890123456"]),
        (["03/04/2024"], ["03/04/2024"]),
        (["-0", "1"], ["-0", "1"]),
    ],
)
def test_a_csv_column_is_numbers_only_if_nothing_is_lost(
    path: Path, column: list[str], cells: list[Cell]
) -> None:
    rows = read(csv(path, "\n".join(["A;B", *(f"x;{cell}" for cell in column)])))
    assert [row[1] for _, row in rows] == cells


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("\n\n", "is empty"),
        ("A,B\n", "has a header in row 1, and no rows below it"),
        ("A,B\n1,2\n1,2,3\n", "row 3 has more fields than the header in row 1: C3 holds a value"),
        ('A,B\n"' + "x" * (MAX_CELL_CHARS + 1) + '",2\n', "field larger than field limit"),
    ],
)
def test_a_bad_csv_is_refused_like_a_bad_sheet(path: Path, content: str, sentence: str) -> None:
    assert sentence in refusal(csv(path, content))


def test_a_csv_has_no_sheets(path: Path) -> None:
    assert "has no sheets, so not 'X' either" in refusal(csv(path, "A,B\n1,2\n"), "X")


def test_lines_within_a_csvs_cell_are_read(path: Path) -> None:
    assert read(csv(path, 'A,B\n"one\ntwo",xy\n')) == [(0, ["one\ntwo", "xy"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_that_names_the_delimiter_is_heeded_and_not_shown(
    path: Path, encoding: str, first: str, end: str
) -> None:
    lines = [first, "A;B", "1,2,3;4,5,6", "x,y,z;0"]
    file = csv(path, end.join(lines).encode(encoding))
    with open_sheet(file) as sheet:
        assert sheet.header == ("A", "B")
        assert sheet.first_row == 2
        assert list(sheet.rows()) == [(0, ["1,2,3", "4,5,6"]), (1, ["x,y,z", "0"])]


@pytest.mark.parametrize("delimiter", ["|", "\t", "#", " ", "~"])
def test_the_delimiter_may_be_any_character(path: Path, delimiter: str) -> None:
    lines = [f"sep={delimiter}", f"A{delimiter}B", f"1;2{delimiter}x"]
    assert read(csv(path, "\n".join(lines))) == [(0, ["1;2", "x"])]


@pytest.mark.parametrize("first", ["sep=", "sep=;;", "sep=;x", "separator"])
def test_another_first_line_is_a_row(path: Path, first: str) -> None:
    with open_sheet(csv(path, f"{first}\nx\n")) as sheet:
        assert sheet.first_row == 2
        assert list(sheet.rows()) == [(0, ["x"] + [None] * (len(sheet.header) - 1))]


def test_a_line_number_counts_the_line_that_names_the_delimiter(path: Path) -> None:
    long = "x" * (MAX_CELL_CHARS + 1)
    assert refusal(csv(path, f"sep=;\nA;B\n{long};2\n")).startswith("invoices.csv, line 3:")


def test_a_whole_number_with_decimals_is_the_number_that_a_workbook_holds(path: Path) -> None:
    with open_sheet(csv(path, "H;I\nx;1.00\ny;2.50\n")) as sheet:
        cells = [row[1] for _, row in sheet.rows()]
        assert [(cell, type(cell)) for cell in cells] == [(1, int), (2.5, float)]
        assert sheet.formats[1] == "0.00"
