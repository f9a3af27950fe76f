"""Widths, styles, filters and merged cells around the answers in a user's own workbook."""

from __future__ import annotations

import re
import zipfile
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openpyxl
import pytest
from openpyxl.styles import Border, Font, Side
from openpyxl.worksheet.table import Table

from rowfleet.errors import InputError
from submitter.excel import letter
from tests.support import packages, rich_workbooks
from tests.support.odd_workbooks import BODY, re_find, sheet, values, written
from tests.support.workbooks import NS, SHEET_PART, rewrite, save, text, with_rows


@pytest.mark.parametrize("root", [f'<styleSheet xmlns="{NS}"/>', f'<sheet xmlns="{NS}"/>'])
def test_a_stylesheet_without_styles_stays(tmp_path: Path, root: str) -> None:
    source = save(tmp_path / "in.xlsx", [["Vendor"], ["Acme"]])
    rewrite(source, packages.STYLES, lambda _: root.encode())
    out = written(source, {2: [True, date(2026, 1, 2)]})
    assert packages.changed_parts(source, out) == {SHEET_PART}
    assert "2026-01-02" in sheet(out)  # as text: a number without a format would be no date


def test_no_stylesheet_and_no_table_of_strings(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    parts = packages.parts_of(source)
    del parts[packages.STYLES]
    with zipfile.ZipFile(source, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    assert "late" in sheet(written(source))


#: What the columns were → what they are, `NEW` being those of the answers.
COLUMNS = {
    "": "NEW",
    "<cols/>": "NEW",
    '<col min="1" max="2" width="5"></col>': '<col min="1" max="2" width="5"></col>NEW',
    '<col min="1" max="9" hidden="1"/>': '<col min="1" max="2" hidden="1"/>NEW'
    '<col min="5" max="9" hidden="1"/>',
    '<col min="3" max="3"/><col min="4" max="20" width="2"></col>': "NEW"
    '<col min="5" max="20" width="2"/>',
    '<col min="1" max="1"/><col min="6" max="6"/>': '<col min="1" max="1"/>NEW'
    '<col min="6" max="6"/>',
}


@pytest.mark.parametrize("before", COLUMNS)
def test_new_columns_get_a_width_and_the_others_keep_theirs(tmp_path: Path, before: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    holder = before if before in ("", "<cols/>") else f"<cols>{before}</cols>"
    with_columns = f"{holder}<sheetData>".encode()
    rewrite(source, SHEET_PART, lambda old: old.replace(b"<sheetData>", with_columns))
    new = '<col min="{0}" max="{0}" width="{1}" customWidth="1"/>'
    expected = COLUMNS[before].replace("NEW", new.format(3, "12.0") + new.format(4, "9.0"))
    assert re_find(r"<cols.*</cols>", sheet(written(source))) == f"<cols>{expected}</cols>"


def test_a_columns_style_stays_where_an_answer_stands(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    columns = b'<cols><col min="1" max="9" style="0" width="3"/></cols><sheetData>'
    rewrite(source, SHEET_PART, lambda old: old.replace(b"<sheetData>", columns))
    assert '<col min="3" max="3" width="12.0" style="0" customWidth="1"/>' in sheet(written(source))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A1:B2", "A1:D2"),
        ("A1", "A1:D2"),  # of a program that did not look
        ("nonsense", "nonsense"),
    ],
)
def test_the_dimension_grows(tmp_path: Path, before: str, after: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    tag = f'<dimension ref="{before}"/><sheetData>'
    rewrite(source, SHEET_PART, lambda old: old.replace(b"<sheetData>", tag.encode()))
    assert f'<dimension ref="{after}"/>' in sheet(written(source))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A1:B2", "A1:D2"),
        ("$A$1:$B$2", "A1:D2"),
        ("A1:A2", "A1:A2"),  # not next to the answers
        ("A2:B2", "A2:B2"),  # not the header's
    ],
)
def test_a_filter_grows_if_it_is_the_tables(tmp_path: Path, before: str, after: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    tag = f'</sheetData><autoFilter ref="{before}"/>'
    rewrite(source, SHEET_PART, lambda old: old.replace(b"</sheetData>", tag.encode()))
    assert f'<autoFilter ref="{after}"/>' in sheet(written(source))


def test_merged_cells_beside_the_rows_are_not_covered(tmp_path: Path) -> None:
    def merge(sheet: Any) -> None:
        sheet.merge_cells("B2:D2")
        sheet.merge_cells("A9:G9")  # below: in no answer's way

    source = save(tmp_path / "in.xlsx", [["Vendor", "Amount"], ["Acme", 1]], merge)
    assert values(written(source))[0][4:6] == ("AI_Refund", "AI_Why")


def test_a_stylesheet_in_utf_16_stays_one(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    rewrite(source, packages.STYLES, lambda old: old.decode().encode("utf-16"))
    out = written(source, {2: [date(2026, 1, 2), "late"]})
    assert packages.parts_of(out)[packages.STYLES].startswith(b"\xff\xfe")
    assert openpyxl.load_workbook(out)["Refunds"]["C2"].number_format == "yyyy-mm-dd"


def test_an_alternative_of_two_fills_counts_as_one(tmp_path: Path) -> None:
    """Excel takes one branch of it, so that those behind it have the next numbers."""
    source = save(tmp_path / "in.xlsx", [["Vendor"], ["Acme"]])
    compatible = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    fill = "<fill><patternFill/></fill>"
    alternative = (
        f'<mc:AlternateContent xmlns:mc="{compatible}"><mc:Choice Requires="x">{fill}</mc:Choice>'
        f"<mc:Fallback>{fill}</mc:Fallback></mc:AlternateContent></fills>"
    ).encode()
    rewrite(source, packages.STYLES, lambda old: old.replace(b"</fills>", alternative))
    before = ET.fromstring(packages.parts_of(source)[packages.STYLES])
    after = ET.fromstring(packages.parts_of(written(source, status="failed"))[packages.STYLES])
    *_, failed = after.findall(f"{{{NS}}}cellXfs/{{{NS}}}xf[@fillId]")
    assert failed.attrib["fillId"] == str(len(before.find(f"{{{NS}}}fills") or ())) == "3"


def test_answers_have_the_font_and_border_that_most_cells_beside_them_have(tmp_path: Path) -> None:
    def look(sheet: Any) -> None:
        for ref in ("A2", "B2"):
            sheet[ref].font = Font(name="Arial", size=8)
            sheet[ref].border = Border(bottom=Side("thin"))
        sheet["C2"].font = Font(name="Courier", underline="single", color="0000FF")  # a link's

    source = save(tmp_path / "in.xlsx", [["A", "B", "C"], ["a", "b", "c"]], look)
    cell = openpyxl.load_workbook(written(source))["Refunds"]["D2"]
    assert (cell.font.name, cell.font.sz, cell.font.u) == ("Arial", 8, None)
    assert cell.border.bottom.style == "thin"


def test_a_table_whose_columns_have_odd_numbers_grows(tmp_path: Path) -> None:
    source, header_row = rich_workbooks.made(tmp_path, "excel_table")
    part = "xl/tables/table1.xml"
    rewrite(source, part, lambda old: old.replace(b'id="5" name', b'id="" name'))
    out = written(source, {}, sheet="Invoices", header_row=header_row)
    table = ET.fromstring(packages.parts_of(out)[part])
    columns = [column.attrib for column in table.iter(f"{{{NS}}}tableColumn")]
    assert [(c["id"], c["name"]) for c in columns[-2:]] == [("5", "AI_Refund"), ("6", "AI_Why")]


@pytest.mark.parametrize(("note", "reference"), [(None, "A1:D3"), ("a note", "A1:B3")])
def test_a_table_grows_only_where_the_answers_stand_beside_it(
    tmp_path: Path, note: str | None, reference: str
) -> None:
    def with_table(sheet: Any) -> None:
        sheet.add_table(Table(displayName="Refunds", ref="A1:B3"))
        sheet["C2"] = note

    rows = [["Vendor", "Amount"], ["Acme", 1], ["Globex", 2]]
    source = save(tmp_path / "in.xlsx", rows, with_table)
    table = ET.fromstring(packages.parts_of(written(source))["xl/tables/table1.xml"])
    assert table.get("ref") == reference


@pytest.mark.parametrize(
    "part", ["_rels/.rels", "xl/worksheets/_rels/sheet1.xml.rels", "xl/tables/table1.xml"]
)
def test_a_damaged_part_that_is_not_read_is_copied(tmp_path: Path, part: str) -> None:
    source, header_row = rich_workbooks.made(tmp_path, "excel_table")
    rewrite(source, part, lambda old: old[: len(old) // 2])
    out = written(source, {}, sheet="Invoices", header_row=header_row)
    assert part not in packages.changed_parts(source, out)
    assert "AI_Refund" in sheet(out)


LONG = "x" * 60_000
#: 4.8 MB that a walk would have to keep: tags of columns, and texts of headers.
TOO_MUCH = {
    "columns": "<cols>" + f'<col min="1" max="1" a="{LONG}"/>' * 80 + "</cols><sheetData>",
    "header": '<sheetData><row r="1">'
    + "".join(text(f"{letter(column)}1", LONG) for column in range(80))
    + "</row>",
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_is_kept_of_a_hostile_worksheet_is_bounded(tmp_path: Path, what: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", "")
    rewrite(source, SHEET_PART, lambda old: old.replace(b"<sheetData>", TOO_MUCH[what].encode()))
    with pytest.raises(InputError, match="says more of its columns than a spreadsheet can"):
        written(source, {})


def test_a_stylesheet_with_more_than_a_spreadsheet_needs_stays(tmp_path: Path) -> None:
    source = save(tmp_path / "in.xlsx", [["Vendor"], ["Acme"]])
    many = b"<cellStyleXfs>" + b"<xf/>" * 200_001 + b"</cellStyleXfs>"
    rewrite(
        source, packages.STYLES, lambda old: re.sub(rb"<cellStyleXfs.*</cellStyleXfs>", many, old)
    )
    assert packages.changed_parts(source, written(source)) == {SHEET_PART}
