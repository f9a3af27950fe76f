"""A workbook with all that people have in theirs comes back with the answers, and as it was."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import openpyxl
import pytest

from rowfleet.cells import Cell
from submitter.results.write_back.answer_cells import AnsweredRow
from submitter.results.write_back.finished import Written, write_back
from tests.support import packages, rich_workbooks

HEADERS = ("AI_Refund", "AI_Why", "AI_Amount", "AI_Until", "AI_Status")
#: Right of the table, and of the column of their own that some workbooks have behind it.
FIRST_COLUMN = {
    "excel_table": 6,
    "formulas": 6,
    "sparklines": 6,
    "themed_and_titled": 8,
    "two_tables": 12,
}
LONG = "Paid twice: INV-0001 was paid in March, and again in June, by another account of ours."


def answers(row: int) -> list[Cell]:
    status = ("done", "done", "failed", "pending")[row % 4]
    if status != "done":
        return [None, None, None, None, status]
    why = "=HYPERLINK(1)" if row == 4 else LONG if row % 2 else "no"
    return [row % 2 == 0, why, row * 1.25, date(2026, 2, 1 + row), status]


def rows(header_row: int) -> list[AnsweredRow]:
    made = []
    for number in range(rich_workbooks.ROWS):
        cells = answers(number)
        made.append(AnsweredRow(header_row + 1 + number, str(cells[-1]), cells))
    return made


def finished(source: Path, header_row: int, out: Path, headers: Sequence[str] = HEADERS) -> Written:
    with out.open("w+b") as file:
        return write_back(
            source,
            file,
            name=source.name,
            sheet="invoices",  # as Excel does, whatever the case
            header_row=header_row,
            last_row=header_row + rich_workbooks.ROWS,
            headers=headers,
            rows=iter(rows(header_row)),
        )


@pytest.fixture(params=rich_workbooks.MAKERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path, int]:
    """A workbook's name, the workbook, the finished one, and the row of its header, from 0."""
    original, header_row = rich_workbooks.made(tmp_path, request.param)
    out = tmp_path / f"finished{original.suffix}"
    assert finished(original, header_row, out) == Written(rich_workbooks.ROWS)
    return request.param, original, out, header_row


def sheet_part(path: Path) -> str:
    position = openpyxl.load_workbook(path, read_only=True).sheetnames.index("Invoices")
    return f"xl/worksheets/sheet{position + 1}.xml"


def test_only_what_must_differ_differs(written: tuple[str, Path, Path, int]) -> None:
    name, original, out, header_row = written
    before, after = packages.parts_of(original), packages.parts_of(out)
    changed = packages.changed_parts(original, out)
    sheet = sheet_part(original)
    tables = {"excel_table": {"xl/tables/table1.xml"}, "two_tables": {"xl/tables/table2.xml"}}
    expected = {sheet, packages.STYLES, *tables.get(name, ())}
    if name == "autofilter_with_hidden_rows":
        expected.add("xl/workbook.xml")
        old, new = (parts["xl/workbook.xml"].decode() for parts in (before, after))
        assert new == old.replace("Invoices!$A$2:$E$14", "Invoices!$A$2:$J$14") != old
    assert changed == expected
    first = FIRST_COLUMN.get(name, 5)
    last = first + len(HEADERS) - 1
    packages.check_worksheet(before[sheet], after[sheet], first, last, header_row + 1)
    packages.check_styles(before[packages.STYLES], after[packages.STYLES])
    for table in tables.get(name, ()):
        packages.check_table(before[table], after[table], HEADERS)


def test_answers_are_typed_and_look_like_their_table(
    written: tuple[str, Path, Path, int],
) -> None:
    name, original, out, header_row = written
    sheet = openpyxl.load_workbook(out)["Invoices"]
    was = openpyxl.load_workbook(original)["Invoices"]
    first = FIRST_COLUMN.get(name, 5)
    beside = next(
        cell
        for column in range(first, 0, -1)
        if (cell := was.cell(header_row + 1, column)).value is not None
    )
    for index, header in enumerate(HEADERS):
        cell = sheet.cell(header_row + 1, first + 1 + index)
        assert cell.value == header
        assert repr(cell.font) == repr(beside.font)
        assert repr(cell.fill) == repr(beside.fill)
    for number in range(rich_workbooks.ROWS):
        cells = [sheet.cell(header_row + 2 + number, first + 1 + at) for at in range(len(HEADERS))]
        status = cells[-1].value
        expected = answers(number)
        values = [cell.value for cell in cells]
        assert [v.date() if isinstance(v, datetime) else v for v in values] == expected
        fills = {cell.fill.fgColor.rgb if cell.fill.fill_type else None for cell in cells}
        assert fills == {{"done": None, "failed": "FFFCE4D6"}.get(str(status), "FFFFF2CC")}
        if status == "done":
            refund, why, _, until, _ = cells
            assert refund.number_format == '"TRUE";"TRUE";"FALSE"'
            assert until.number_format == "yyyy-mm-dd"
            assert why.data_type == "s"
            assert bool(why.quotePrefix) == (why.value == "=HYPERLINK(1)")
            assert bool(why.alignment.wrap_text) == (why.value == LONG)


def test_written_again_it_is_the_same(written: tuple[str, Path, Path, int], tmp_path: Path) -> None:
    """The answers go into the columns that they have, and nothing is added."""
    _, _, out, header_row = written
    again = tmp_path / "again.xlsx"
    with again.open("w+b") as file:
        write_back(
            out,
            file,
            name=out.name,
            sheet="Invoices",
            header_row=header_row,
            last_row=header_row + rich_workbooks.ROWS,
            headers=HEADERS,
            rows=iter(rows(header_row)),
            answers_in=lambda texts: {text: at for at, text in texts.items() if text in HEADERS},
        )
    first, second = packages.parts_of(out), packages.parts_of(again)
    sheet = sheet_part(out)
    assert packages.changed_parts(out, again) <= {sheet, packages.STYLES}
    without_styles = [re.sub(rb' s="\d+"', b"", parts[sheet]) for parts in (first, second)]
    assert without_styles[0] == without_styles[1]


SOFFICE = shutil.which("soffice")

#: LibreOffice's setting to calculate all formulas of an .xlsx when it opens it.
CALCULATE_ANEW = """<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item></oor:items>
"""


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_libreoffice_opens_them_and_shows_all_that_it_showed_before(tmp_path: Path) -> None:
    """Other sheets and other columns show the same, formulas too, which are calculated anew."""
    before, after = tmp_path / "before", tmp_path / "after"
    header_rows = {}
    for folder in (before, after):
        folder.mkdir()
    for name in rich_workbooks.MAKERS:
        original, header_rows[name] = rich_workbooks.made(before, name)
        finished(original, header_rows[name], after / original.name)
    was, now = _shown(before), _shown(after)
    assert was.keys() == now.keys()
    for sheet, lines in now.items():
        name, _, title = sheet.rpartition("-")
        if sheet == "formulas-Invoices":  # what XlsxWriter stored is 1
            assert [line[5] for line in lines[1:4]] == ["<small>"] * 3
            assert lines[12][5] == "132.3875"
        first = FIRST_COLUMN.get(name, 5) if title == "Invoices" else None
        assert [line[:first] for line in was[sheet]] == [line[:first] for line in lines]
        if first is not None:
            top = header_rows[name]
            shown = [line[first : first + len(HEADERS)] for line in lines[top : top + 6]]
            assert shown == [
                list(HEADERS),
                ["TRUE", "no", "0", "2026-02-01", "done"],
                ["FALSE", LONG, "1.25", "2026-02-02", "done"],
                ["", "", "", "", "failed"],
                ["", "", "", "", "pending"],
                ["TRUE", "=HYPERLINK(1)", "5", "2026-02-05", "done"],
            ]


def _convert(
    kind: str, folder: Path, books: Sequence[Path], *, calculate_anew: bool = False
) -> None:
    assert SOFFICE is not None
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True, exist_ok=True)
    if calculate_anew:
        (profile / "user" / "registrymodifications.xcu").write_text(CALCULATE_ANEW)
    command = [
        SOFFICE,
        f"-env:UserInstallation=file://{profile}",
        "--headless",
        "--convert-to",
        kind,
        "--outdir",
        folder,
        *books,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=170)


def _shown(folder: Path) -> dict[str, list[list[str]]]:
    """Return every sheet of the folder's workbooks as LibreOffice shows it."""
    options = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    _convert(options, folder, sorted(folder.glob("*.xls*")), calculate_anew=True)
    sheets = {path.stem: path.read_text("utf-8") for path in folder.glob("*.csv")}
    return {name: list(csv.reader(StringIO(text, ""))) for name, text in sheets.items()}


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_libreoffice_shows_booleans_as_such(tmp_path: Path) -> None:
    """Its texts are TRUE also for a cell that it shows as 1; only the cell's kind tells."""
    original, header_row = rich_workbooks.made(tmp_path, "plain")
    finished(original, header_row, tmp_path / "finished.xlsx")
    _convert("fods", tmp_path, [tmp_path / "finished.xlsx"])
    root = ET.parse(tmp_path / "finished.fods").getroot()
    kind = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}value-type"
    booleans = [cell for cell in root.iter() if cell.attrib.get(kind) == "boolean"]
    assert len(booleans) == sum(answers(row)[0] is not None for row in range(12))


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_what_libreoffice_has_saved_comes_back_as_it_was(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    header_rows = {name: rich_workbooks.made(tmp_path, name)[1] for name in rich_workbooks.MAKERS}
    _convert("xlsx:Calc MS Excel 2007 XML", theirs, sorted(tmp_path.glob("*.xlsx")))
    saved = sorted(theirs.glob("*.xlsx"))
    assert len(saved) == len(rich_workbooks.MAKERS) - 1  # the one with macros is an .xlsm
    for original in saved:
        out, header_row = tmp_path / "out.xlsx", header_rows[original.stem]
        assert finished(original, header_row, out).rows == rich_workbooks.ROWS
        before, after = packages.parts_of(original), packages.parts_of(out)
        sheet = sheet_part(original)
        changed = packages.changed_parts(original, out) - {sheet, packages.STYLES}
        assert all("/tables/" in part or part == "xl/workbook.xml" for part in changed)
        header = openpyxl.load_workbook(out)["Invoices"][header_row + 1]
        first = [cell.value for cell in header].index(HEADERS[0])
        last = first + len(HEADERS) - 1
        packages.check_worksheet(before[sheet], after[sheet], first, last, header_row + 1)
        packages.check_styles(before[packages.STYLES], after[packages.STYLES])


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_pivot_tables_are_pivot_tables_of_the_same_rows(tmp_path: Path) -> None:
    original, header_row = rich_workbooks.made(tmp_path, "pivots")
    assert "xl/pivotTables/pivotTable2.xml" in packages.parts_of(original)
    out = tmp_path / "finished.xlsx"
    finished(original, header_row, out)
    _convert("fods", tmp_path, [original, out])
    before, after = (_pivots(tmp_path / f"{name}.fods") for name in ("pivots", "finished"))
    assert len(before) == len(rich_workbooks.PIVOT_PLACES)
    assert before == after


def _pivots(path: Path) -> list[list[tuple[str, dict[str, str]]]]:
    """Return the pivot tables of a document as LibreOffice understands them, in one order.

    It does not always write them in the same one.
    """
    table = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}data-pilot-table"
    root = ET.parse(path).getroot()
    pivots = [[(each.tag, each.attrib) for each in pivot.iter()] for pivot in root.iter(table)]
    return sorted(pivots, key=repr)
