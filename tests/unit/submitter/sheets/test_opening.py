"""What a sheet gives, and the one sentence that each bad one gets."""

from __future__ import annotations

import hashlib
import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.chart import BarChart
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from rowfleet.cells import Cell, CellError
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.excel import MAX_CELL_CHARS
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "invoices.xlsx"


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


# What a good sheet gives


def test_rows_come_with_their_position_and_their_types(path: Path) -> None:
    save(path)
    with open_sheet(path) as sheet:
        assert sheet.name == str(path)
        assert sheet.title == "Refunds"
        assert sheet.header == tuple(HEADER)
        assert sheet.columns == {"Vendor": 0, "Invoice Number": 1, "Amount": 2}
        assert sheet.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert list(sheet.rows()) == [(0, ["Acme", "0017", 12.5]), (1, ["Globex", "18", 7])]


def test_rows_can_be_read_twice(path: Path) -> None:
    save(path)
    with open_sheet(path) as sheet:
        assert list(sheet.rows()) == list(sheet.rows())


def test_formats_and_widths_are_the_columns_own(path: Path) -> None:
    def change(sheet: Any) -> None:
        sheet["C4"] = datetime(2024, 1, 2)
        sheet["C4"].number_format = "dd/mm/yyyy"
        sheet["A4"] = 5
        sheet["A4"].number_format = "0.000"
        sheet.column_dimensions["B"].width = 31

    save(path, [["A", "B", "C"], [None, "x", None], []], change)
    with open_sheet(path) as sheet:
        assert sheet.formats == ("0.000", "General", "dd/mm/yyyy")
        assert sheet.widths is not None
        assert sheet.widths[1] == 31


def test_blank_rows_are_skipped_and_keep_their_number(path: Path) -> None:
    save(path, [HEADER, ROWS[0], [None, "  ", ""], [], ROWS[1], [" "]])
    with open_sheet(path) as sheet:
        assert [number for number, _ in sheet.rows()] == [0, 3]
        assert sheet.count() == 2


def test_shared_strings_are_read_and_blank_ones_are_blank(path: Path) -> None:
    cells = [shared("A1", 0), shared("A2", 2), shared("A3", 3), shared("A4", 1), shared("A5", 4)]
    with_shared(
        path, "".join(f"<row>{cell}</row>" for cell in cells), ["H", "Acme_x000D_", "", " ", "#N/A"]
    )
    assert read(path) == [(2, ["Acme\r"]), (3, ["#N/A"])]


def test_a_shared_string_that_is_not_there_is_refused(path: Path) -> None:
    with_shared(path, f"<row>{shared('A1', 0)}</row><row>{shared('A2', 1)}</row>", ["H"])
    assert "row 2: has no readable value in A2 ('1')" in refusal(path)


def test_ragged_rows_are_padded(path: Path) -> None:
    save(path, [HEADER, ["only"], [None, None, 3]])
    assert read(path) == [(0, ["only", None, None]), (1, [None, None, 3])]


def test_the_named_sheet_is_read_whatever_its_case(path: Path) -> None:
    save(path, change=lambda sheet: sheet.parent.create_sheet("Other").append(["x"]))
    assert len(read(path, sheet="REFUNDS")) == 2


def test_the_first_visible_sheet_is_the_default(path: Path) -> None:
    def change(sheet: Any) -> None:
        hidden = sheet.parent.create_sheet("Hidden", 0)
        hidden.append(["x"])
        hidden.sheet_state = "hidden"

    save(path, change=change)
    assert len(read(path)) == 2


def test_error_cells_are_values_of_their_own(path: Path) -> None:
    save(path, [HEADER, ["#REF!", "text", 1]])
    assert read(path)[0][1][0] == CellError("#REF!")


def test_text_that_looks_like_an_error_stays_text(path: Path) -> None:
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{text('A2', '#REF!')}</row>")
    assert read(path) == [(0, ["#REF!"])]


def test_a_dates_epoch_is_the_workbooks(path: Path) -> None:
    def change(sheet: Any) -> None:
        sheet.parent.epoch = CALENDAR_MAC_1904
        sheet["A2"] = datetime(2024, 5, 6)

    save(path, [["When"], []], change)
    assert read(path) == [(0, [datetime(2024, 5, 6)])]


@pytest.mark.parametrize("serial", ["-5", "-800000", "99999999999", "1e300", "0", "0.5"])
@pytest.mark.parametrize("mac", [False, True])
def test_dates_before_the_first_and_after_the_last_never_crash(
    path: Path, serial: str, mac: bool
) -> None:
    def change(sheet: Any) -> None:
        if mac:
            sheet.parent.epoch = CALENDAR_MAC_1904
        sheet["A2"] = datetime(2024, 5, 6)

    save(path, [["When"], []], change)
    rewrite(path, SHEET_PART, lambda xml: re.sub(rb"<v>[0-9.]+</v></c></row></sheetData>",
            f"<v>{serial}</v></c></row></sheetData>".encode(), xml))  # fmt: skip
    ((_, (cell,)),) = read(path)
    assert isinstance(cell, (datetime, time, CellError))


def test_the_longest_cell_is_read_whole(path: Path) -> None:
    save(path, [HEADER, ["x" * 32_767, "y", 1]])
    assert read(path)[0][1][0] == "x" * 32_767


def test_control_characters_are_read_as_excel_means_them(path: Path) -> None:
    escaped = "a_x000D_b_x0001_c_x0000_d_x005F_x000D_e_x0041_"
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{text('A2', escaped)}</row>")
    assert read(path) == [(0, ["a\rb\x01c\N{REPLACEMENT CHARACTER}d_x000D_eA"])]


def test_emoji_and_right_to_left_text_are_kept(path: Path) -> None:
    save(path, [["👩‍👩‍👧", "שם"], ["مرحبا\u200f", "🇩🇪"]])
    with open_sheet(path) as sheet:
        assert sheet.header == ("👩‍👩‍👧", "שם")
        assert list(sheet.rows()) == [(0, ["مرحبا\u200f", "🇩🇪"])]


def test_numbers_as_text_stay_text(path: Path) -> None:
    save(path, [HEADER, ["00017", "1e5", "12.50"]])
    assert read(path) == [(0, ["00017", "1e5", "12.50"])]


def test_rich_text_is_read_without_its_fonts(path: Path) -> None:
    rich = (
        '<c r="A2" t="inlineStr"><is><r><rPr><u val="odd"/></rPr><t>one </t></r><r><t>two</t></r>'
        "<rPh><t>ruby</t></rPh></is></c>"
    )
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{rich}</row>")
    assert read(path) == [(0, ["one two"])]


@pytest.mark.parametrize("dimension", [b"A1:A1", b"A1:XFD1048576"])
def test_a_wrong_dimension_is_not_believed(path: Path, dimension: bytes) -> None:
    save(path)
    rewrite(path, SHEET_PART, lambda xml: re.sub(rb'dimension ref="[^"]*"',
            b'dimension ref="' + dimension + b'"', xml))  # fmt: skip
    assert len(read(path)) == 2


def test_the_last_cells_of_a_worksheet_cost_nothing(path: Path) -> None:
    rows = [f'<row r="1">{text("A1", "H")}</row><row r="2">{text("A2", "x")}</row>']
    rows += [f'<row r="{n}"><c r="XFD{n}" s="0"/></row>' for n in range(3, 2000)]
    rows += [f'<row r="1048576">{text("A1048576", "end")}</row>']
    with_rows(path, "".join(rows))
    tracemalloc.start()
    assert read(path) == [(0, ["x"]), (1_048_574, ["end"])]
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_odd_settings_around_the_rows_do_no_harm(path: Path) -> None:
    save(path)
    odd = b'</sheetData><pageSetup orientation="sideways"/><hyperlinks><hyperlink/></hyperlinks>'
    rewrite(path, SHEET_PART, lambda xml: xml.replace(b"</sheetData>", odd))
    assert len(read(path)) == 2


# Ranges


def test_a_range_counts_positions_below_the_header(path: Path) -> None:
    save(path, [HEADER, *([f"v{n}", "x", n] for n in range(300))])
    with open_sheet(path) as sheet:
        assert [number for number, _ in sheet.rows(100, 100)] == list(range(100, 200))
        assert sheet.count(100, 100) == 100
        assert [number for number, _ in sheet.rows(298, 100)] == [298, 299]
        assert sheet.count(298) == 2


@pytest.mark.parametrize(
    ("start", "number", "sentence"),
    [
        (-1, None, "--start-row -1: rows are counted from 0"),
        (0, 0, "--num-rows 0: must be at least 1"),
        (0, -3, "--num-rows -3: must be at least 1"),
        (2, None, "--start-row 2 holds no row; the last row is 1"),
        (10**9, 10**9, "--num-rows 1000000000 holds no row; the last row is 1"),
    ],
)
def test_an_impossible_range_is_refused_before_a_row_is_read(
    path: Path, start: int, number: int | None, sentence: str
) -> None:
    save(path)
    with open_sheet(path) as sheet:
        for ask in (sheet.rows, sheet.count):
            with pytest.raises(InputError, match=re.escape(sentence)):
                ask(start, number)


# Headers


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


def test_a_sheet_without_rows_is_refused(path: Path) -> None:
    save(path, [HEADER])
    assert refusal(path) == (
        "invoices.xlsx, sheet 'Refunds': has a header in row 1, and no rows below it"
    )


def test_an_empty_sheet_is_refused(path: Path) -> None:
    save(path, [])
    assert refusal(path) == "invoices.xlsx, sheet 'Refunds': is empty"


# Sheets


def test_an_unknown_sheet_is_refused_with_those_there_are(path: Path) -> None:
    save(path, change=lambda sheet: sheet.parent.create_sheet("Notes"))
    assert refusal(path, "Refund") == (
        "invoices.xlsx: no sheet 'Refund'; there are 'Refunds', 'Notes'"
    )


def test_a_chart_is_no_sheet(path: Path) -> None:
    def change(sheet: Any) -> None:
        sheet.parent.create_chartsheet("Chart").add_chart(BarChart())

    save(path, change=change)
    assert refusal(path, "Chart") == (
        "invoices.xlsx: 'Chart' is a chart, not a worksheet; there are 'Refunds'"
    )
    assert len(read(path)) == 2


# Formulas


def formula(path: Path, stored: str, kind: str = "") -> Path:
    return with_rows(
        path,
        f"<row>{text('A1', 'Vendor')}{text('B1', 'Amount')}{text('C1', 'Other')}</row>"
        f'<row>{text("A2", "x")}<c r="B2"><v>1</v></c><c r="C2"{kind}><f>1+1</f>{stored}</c></row>',
    )


def test_a_formulas_stored_value_is_read(path: Path) -> None:
    assert read(formula(path, "<v>2</v>")) == [(0, ["x", 1, 2])]


def test_a_formula_that_gave_empty_text_is_blank(path: Path) -> None:
    assert read(formula(path, "<v></v>", ' t="str"')) == [(0, ["x", 1, None])]


@pytest.mark.parametrize("stored", ["", "<v/>", "<v></v>"])
def test_a_formula_without_a_value_is_refused_where_it_is_sent(path: Path, stored: str) -> None:
    formula(path, stored)
    assert refusal(path) == (
        "invoices.xlsx, sheet 'Refunds': the formula in C2 has no stored value; open the file in "
        "Excel or LibreOffice and save it, so that values are stored"
    )
    assert read(path, recipe=RECIPE) == [(0, ["x", 1, None])]


# Files


def test_no_such_file(path: Path) -> None:
    assert refusal(path) == "invoices.xlsx: no such file"


def test_errors_call_the_file_by_its_given_name(path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"^s3://bucket/a\.xlsx: no such file$"),
        open_sheet(path, name="s3://bucket/a.xlsx"),
    ):
        pass


def test_a_directory(path: Path) -> None:
    path.mkdir()
    assert refusal(path) == "invoices.xlsx: is a directory, not a spreadsheet"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"%PDF-1.7 ...", "not a spreadsheet; give an .xlsx or a .csv file"),
        (b"PK\5\6", "truncated or damaged, not a whole .xlsx file; copy it again"),
        (b"PK\3\4" + b"x" * 500, "truncated or damaged, not a whole .xlsx file; copy it again"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
            "an old .xls workbook can't be read; save it as .xlsx",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
            + b"\0" * 600
            + "EncryptedPackage".encode("utf-16-le"),
            "the workbook is encrypted; save it without a password",
        ),
    ],
)
def test_what_is_no_workbook_is_refused(path: Path, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    assert refusal(path) == f"invoices.xlsx: {sentence}"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (["a.txt"], "a zip file, but not an Excel workbook"),
        (["[Content_Types].xml", "xl/workbook.bin"], "an .xlsb workbook can't be read"),
        (["mimetype", "content.xml"], "an OpenDocument sheet can't be read"),
        (["[Content_Types].xml"], "not a readable Excel workbook"),
    ],
)
def test_another_kind_of_zip_is_refused(path: Path, members: list[str], sentence: str) -> None:
    with zipfile.ZipFile(path, "w") as package:
        for name in members:
            package.writestr(name, "<x/>")
    assert sentence in refusal(path)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.99])
def test_a_truncated_workbook_is_refused(path: Path, part: float) -> None:
    content = save(path).read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "truncated or damaged" in refusal(path)


def test_a_damaged_member_is_refused(path: Path) -> None:
    save(path, [HEADER, *([f"v{n}", "x", n] for n in range(500))])
    with zipfile.ZipFile(path) as package:
        at = package.getinfo(SHEET_PART).header_offset
    content = bytearray(path.read_bytes())
    content[at + 300] ^= 0xFF
    path.write_bytes(content)
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("part", [SHEET_PART, "xl/sharedStrings.xml"])
def test_a_zip_bomb_is_refused_unread(path: Path, part: str) -> None:
    save(path)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as package,
        package.open(f"{part}.xml", "w") as stream,
    ):
        for _ in range(40):
            stream.write(b" " * (1 << 20))
    tracemalloc.start()
    assert "as only a zip bomb does" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_workbook_that_unpacks_to_too_much_is_refused_unread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path)
    monkeypatch.setattr("submitter.sheets.package.MAX_UNPACKED_BYTES", 1 << 10)
    assert "more than 0 MiB" in refusal(path)


def test_one_huge_text_or_tag_is_refused(path: Path) -> None:
    with_rows(path, f"<row>{text('A1', 'x' * (MAX_CELL_CHARS + 1))}</row>")
    assert "has a cell of more than 1,048,576 characters" in refusal(path)
    with_rows(path, f'<row a="{"x" * (6 << 20)}"/>')
    assert "has a tag or text too long for a spreadsheet" in refusal(path)


@pytest.mark.parametrize("part", [SHEET_PART, "xl/workbook.xml", "xl/sharedStrings.xml"])
def test_entities_are_refused_in_every_part(path: Path, part: str) -> None:
    with_shared(path, f"<row>{shared('A1', 0)}</row><row>{shared('A2', 1)}</row>", ["H", "x"])
    doctype = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    rewrite(path, part, lambda xml: doctype + re.sub(rb"^<\?xml[^>]*\?>\s*", b"", xml))
    assert "declares an XML document type" in refusal(path)


def test_malformed_xml_is_refused_before_a_row_is_read(path: Path) -> None:
    save(path, [HEADER, *([f"v{n}", "x", n] for n in range(2000))])
    rewrite(path, SHEET_PART, lambda xml: xml.replace(b"</sheetData>", b"</sheetDate>"))
    assert "'xl/worksheets/sheet1.xml' is not well-formed XML: mismatched tag" in refusal(path)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ('<c r="A2"><v>abc</v></c>', "no readable value in A2 ('abc')"),
        ('<c r="A2"><v>nan</v></c>', "no readable value in A2 ('nan')"),
        ('<c r="A2"><v>1e999</v></c>', "no readable value in A2 ('1e999')"),
        ('<c r="A2" t="s"><v>99</v></c>', "no readable value in A2 ('99')"),
        ('<c r="A2" t="b"><v>yes</v></c>', "no readable value in A2 ('yes')"),
        ('<c r="A2" t="d"><v>soon</v></c>', "no readable value in A2 ('soon')"),
        ('<c r="A2" s="bold"><v>1</v></c>', "the style 'bold'"),
        ('<c r="A"><v>1</v></c>', "the cell reference 'A'"),
        ('<c r="A3"><v>1</v></c>', "the cell reference 'A3'"),
        ('<c r="XFE2"><v>1</v></c>', "the cell reference 'XFE2'"),
        ('<c r="B2"/><c r="A2"><v>1</v></c>', "the cell reference 'A2' out of order"),
    ],
)
def test_a_malformed_cell_is_refused_before_a_row_is_read(
    path: Path, cell: str, sentence: str
) -> None:
    with_rows(path, f'<row r="1">{text("A1", "H")}</row><row r="2">{cell}</row>')
    assert f"row 2: has {sentence}" in refusal(path) or sentence in refusal(path)


@pytest.mark.parametrize("number", ["1", "0", "x", "1048577", "-1"])
def test_rows_out_of_order_are_refused(path: Path, number: str) -> None:
    with_rows(path, f'<row r="1">{text("A1", "H")}</row><row r="{number}"/>')
    assert f"the row number {number!r} is out of order" in refusal(path)


def test_an_unreadable_part_is_refused(path: Path) -> None:
    save(path)
    rewrite(path, "xl/workbook.xml", lambda _: b"<workbook/>")
    assert refusal(path).startswith("invoices.xlsx: ")


# Comma-separated values


def csv(path: Path, content: str | bytes) -> Path:
    path = path.with_suffix(".csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
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
        ("A,A\n1,2\n", "row 1: the header 'A' stands in columns A and B"),
        ("A,,C\n1,2,3\n", "no name for the column B, where B2"),
        ("A,B\n1,2\n1,2,3\n", "no name for the column C, where C3"),
        ('A,B\n"' + "x" * (MAX_CELL_CHARS + 1) + '",2\n', "field larger than field limit"),
    ],
)
def test_a_bad_csv_is_refused_like_a_bad_sheet(path: Path, content: str, sentence: str) -> None:
    assert sentence in refusal(csv(path, content))


def test_a_csv_has_no_sheets(path: Path) -> None:
    assert "has no sheets, so not 'X' either" in refusal(csv(path, "A,B\n1,2\n"), "X")


def test_nul_and_lines_within_a_csvs_cell_are_read(path: Path) -> None:
    assert read(csv(path, 'A,B\n"one\ntwo",x\0y\n')) == [
        (0, ["one\ntwo", "x\N{REPLACEMENT CHARACTER}y"])
    ]


def test_a_workbook_is_known_whatever_its_suffix(path: Path) -> None:
    content = save(path).read_bytes()
    odd = path.with_suffix(".csv")
    odd.write_bytes(io.BytesIO(content).getvalue())
    assert len(read(odd)) == 2
