"""A sheet that is added to a workbook stands behind the workbook's own, which stay as they were."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import openpyxl
import pytest

from rowfleet.cells import Cell, Formatted
from submitter.results.added_sheets.appending import append_sheets
from submitter.results.added_sheets.new_sheet import MAX_LINKS, Linked, NewColumn, NewSheet, Place
from tests.support import packages, rich_workbooks, workbooks

COLUMNS = (
    NewColumn("Row", 6),
    NewColumn("Decision", is_input=True, choices=("approve", "reject")),
    NewColumn("=Why", 40),
    NewColumn("Amount"),
    NewColumn("Day"),
    NewColumn("Key", is_hidden=True),
)
ADDRESS = 'https://files.example/a b"&<c>.pdf'
LONG = "Paid twice: INV-0001 was paid in March, and again in June, by another account of ours."


def rows(count: int = 3) -> list[list[Cell | Linked]]:
    return [
        [
            Linked(2 + number, Place("Invoices", 2 + number)),
            None,
            Linked("=HYPERLINK(1)", ADDRESS) if number == 0 else LONG,
            Formatted(1234.5 + number, '"$"#,##0.00'),
            date(2026, 2, 1 + number),
            f"b {number}",
        ]
        for number in range(count)
    ]


def appended(source: Path, out: Path, title: str = "AI_Review", count: int = 3) -> tuple[str, ...]:
    with out.open("w+b") as file:
        sheets = [NewSheet(title, COLUMNS, rows(count)), NewSheet("Notes", COLUMNS[:1], [])]
        return append_sheets(source, file, sheets, name=source.name)


@pytest.fixture(params=rich_workbooks.MAKERS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A workbook, and the one with new sheets."""
    original, _ = rich_workbooks.made(tmp_path, request.param)
    out = tmp_path / f"out{original.suffix}"
    assert appended(original, out) == ("AI_Review", "Notes")
    return original, out


def test_only_the_lists_of_parts_and_the_styles_differ(both: tuple[Path, Path]) -> None:
    original, out = both
    before, after = map(packages.parts_of, both)
    new = {
        "xl/worksheets/rowfleet1.xml",
        "xl/worksheets/_rels/rowfleet1.xml.rels",
        "xl/worksheets/rowfleet2.xml",
    }
    assert after.keys() - before.keys() == new
    assert before.keys() <= after.keys()
    assert {name for name in before if before[name] != after[name]} == {
        "[Content_Types].xml",
        "xl/workbook.xml",
        "xl/_rels/workbook.xml.rels",
        packages.STYLES,
    }
    packages.check_styles(
        before[packages.STYLES], after[packages.STYLES], fonts=2
    )  # of headers and of links
    names = openpyxl.load_workbook(original).sheetnames
    assert openpyxl.load_workbook(out).sheetnames == [*names, "AI_Review", "Notes"]


def test_the_sheet_holds_its_rows_links_and_lists(both: tuple[Path, Path]) -> None:
    sheet = openpyxl.load_workbook(both[1])["AI_Review"]
    assert [cell.value for cell in sheet[1]] == [column.header for column in COLUMNS]
    assert all(cell.font.b for cell in sheet[1])
    for number in range(3):
        row, decision, why, amount, day, key = sheet[2 + number]
        assert row.hyperlink.location == f"'Invoices'!A{2 + number}"
        assert row.value == 2 + number
        assert (decision.value, decision.fill.fgColor.rgb) == (None, "FFFFF9E5")
        assert (amount.value, amount.number_format) == (1234.5 + number, '"$"#,##0.00')
        assert day.value == datetime(2026, 2, 1 + number)
        assert key.value == f"b {number}"
        assert bool(why.alignment.wrap_text) == (why.value == LONG)
    first = sheet["C2"]
    assert (first.value, first.data_type, first.quotePrefix) == ("=HYPERLINK(1)", "s", True)
    assert first.hyperlink.target == ADDRESS
    assert first.font.u == "single"
    (list_,) = sheet.data_validations.dataValidation
    assert (list_.formula1, str(list_.sqref)) == ('"approve,reject"', "B2:B4")
    assert sheet.column_dimensions["F"].hidden
    assert sheet.auto_filter.ref == "A1:F4"


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    original, _ = rich_workbooks.made(tmp_path, "several_sheets")
    once, twice = tmp_path / "once.xlsx", tmp_path / "twice.xlsx"
    assert appended(original, once, title="INVOICES") == ("INVOICES_2", "Notes")
    assert appended(once, twice, title="INVOICES") == ("INVOICES_3", "Notes_2")
    book = openpyxl.load_workbook(twice)
    assert book["INVOICES_2"]["A2"].value == book["INVOICES_3"]["A2"].value == 2
    ids = [int(i) for i in re.findall(rb'sheetId="(\d+)"', packages.parts_of(twice)[WORKBOOK])]
    assert len(set(ids)) == len(ids)


WORKBOOK = "xl/workbook.xml"


def test_a_strict_workbook_gets_a_strict_sheet(tmp_path: Path) -> None:
    usual = b"http://schemas.openxmlformats.org/"
    strict = b"http://purl.oclc.org/ooxml/"
    original, _ = rich_workbooks.made(tmp_path, "plain")
    for part, data in packages.parts_of(original).items():
        changed = (
            data.replace(usual + b"spreadsheetml/2006/main", strict + b"spreadsheetml/main")
            .replace(usual + b"officeDocument/2006/rel", strict + b"officeDocument/rel")
            .replace(b"2006/relationships/worksheet", b"relationships/worksheet")
        )
        if changed != data and part.startswith("xl/"):
            workbooks.rewrite(original, part, lambda _, new=changed: new)
    appended(original, out := tmp_path / "out.xlsx")
    parts = packages.parts_of(out)
    root = ET.fromstring(parts["xl/worksheets/rowfleet1.xml"])
    assert root.tag == "{http://purl.oclc.org/ooxml/spreadsheetml/main}worksheet"
    found = workbooks.read(out, sheet="AI_Review")
    assert [cells[0] for _, cells in found] == [2, 3, 4]


def test_links_beyond_those_that_excel_takes_are_left_out(tmp_path: Path) -> None:
    workbooks.save(original := tmp_path / "a.xlsx", [["Name"], ["x"]])
    many = ([Linked(number, Place("Sheet", 2))] for number in range(MAX_LINKS + 5))
    with (out := tmp_path / "out.xlsx").open("w+b") as file:
        append_sheets(original, file, [NewSheet("N", COLUMNS[:1], many)], name="a.xlsx")
    part = packages.parts_of(out)["xl/worksheets/rowfleet1.xml"]
    assert part.count(b"<hyperlink ") == MAX_LINKS
    assert part.count(b"<row ") == MAX_LINKS + 6


SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_libreoffice_shows_the_sheet(tmp_path: Path) -> None:
    assert SOFFICE is not None
    original, _ = rich_workbooks.made(tmp_path, "several_sheets")
    appended(original, out := tmp_path / "out.xlsx")
    options = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = [SOFFICE, profile, "--headless", "--convert-to", options, "--outdir", tmp_path, out]
    subprocess.run(command, check=True, capture_output=True, timeout=170)
    text = (tmp_path / "out-AI_Review.csv").read_text("utf-8")
    assert list(csv.reader(StringIO(text, "")))[:2] == [
        ["Row", "Decision", "=Why", "Amount", "Day", "Key"],
        ["2", "", "=HYPERLINK(1)", "1234.5", "2026-02-01", "b 0"],
    ]
