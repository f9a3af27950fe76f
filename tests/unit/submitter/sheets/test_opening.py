"""Which worksheet is read, and the one sentence that each bad file gets."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from openpyxl.chart import BarChart

from rowfleet.errors import InputError
from submitter.excel import MAX_CELL_CHARS
from submitter.sheets.opening import open_sheet
from tests.support.workbooks import (
    HEADER,
    SHEET_PART,
    read,
    refusal,
    rewrite,
    save,
    shared,
    text,
    with_rows,
    with_shared,
)


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


def test_a_sheet_without_rows_is_refused(path: Path) -> None:
    save(path, [HEADER])
    assert refusal(path) == (
        "invoices.xlsx, sheet 'Refunds': has a header in row 1, and no rows below it"
    )


def test_an_empty_sheet_is_refused(path: Path) -> None:
    save(path, [])
    assert refusal(path) == "invoices.xlsx, sheet 'Refunds': is empty"


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
        (b"%PDF-1.7 ...", "not a spreadsheet; give an .xlsx, .xls, .xlsb, .ods or .csv file"),
        (b"PK\5\6", "truncated or damaged, not a whole .xlsx file; copy it again"),
        (b"PK\3\4" + b"x" * 500, "truncated or damaged, not a whole .xlsx file; copy it again"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
            "truncated or damaged, not an .xls that can be read; "
            "open it in Excel or LibreOffice and save it as .xlsx",
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
        (["[Content_Types].xml", "xl/workbook.bin"], "not an .xlsb that can be read"),
        (["mimetype", "content.xml"], "not an .ods that can be read"),
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


@pytest.mark.parametrize(
    ("part", "size", "sentence"),
    [
        (SHEET_PART, (2 << 30) + 1, "2,048 MiB, more than 2,048 MiB"),
        ("xl/sharedStrings.xml", 600 << 20, "600 MiB, more than 512 MiB"),
        ("xl/styles.xml", 600 << 20, "600 MiB, more than 512 MiB"),
    ],
)
def test_a_part_that_unpacks_to_too_much_is_refused_unread(
    path: Path, part: str, size: int, sentence: str
) -> None:
    with_shared(path, f"<row>{shared('A1', 0)}</row><row>{shared('A2', 1)}</row>", ["H", "x"])
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("other.txt", "")  # so that closing it writes the directory again
        package.getinfo(part).file_size = size
    assert refusal(path) == f"invoices.xlsx: the part {part!r} unpacks to {sentence}"


def test_a_part_that_unpacks_to_more_than_it_says_is_refused(path: Path) -> None:
    save(path, [HEADER, *([f"v{n}", "x", n] for n in range(500))])
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("other.txt", "")
        package.getinfo(SHEET_PART).file_size = 9_000
    assert "truncated or damaged" in refusal(path)


def test_much_text_that_repeats_is_no_bomb(path: Path) -> None:
    row = f'<row r="#">{text("A#", "the same words in every row " * 60)}</row>'
    rows = "".join(row.replace("#", f"{number}") for number in range(2, 21_000))
    with_rows(path, f'<row r="1">{text("A1", "H")}</row>{rows}')
    with zipfile.ZipFile(path) as package:
        part = package.getinfo(SHEET_PART)
    assert part.file_size > 32 << 20
    assert part.file_size > 100 * part.compress_size
    with open_sheet(path) as sheet:
        assert sheet.count() == 20_998


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
        ('<c r="$A$2"><v>1</v></c>', "the cell reference '$A$2'"),
        ('<c r="ﬀ2"><v>1</v></c>', "the cell reference"),
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


def test_a_workbook_is_known_whatever_its_suffix(path: Path) -> None:
    content = save(path).read_bytes()
    odd = path.with_suffix(".csv")
    odd.write_bytes(io.BytesIO(content).getvalue())
    assert len(read(odd)) == 2
