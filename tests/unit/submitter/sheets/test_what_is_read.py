"""Only what is read can refuse a workbook, and it may be spelled in more than one way."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from datetime import datetime, time
from pathlib import Path

import pytest

from rowfleet.cells import Cell, CellError
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.opening import open_sheet
from submitter.sheets.workbook import EAST_ASIAN_FORMATS
from tests.support import bombs
from tests.support.workbooks import SHEET_PART, read, refusal, rewrite, shared, text, with_shared

ROWS: list[tuple[int, list[Cell]]] = [(0, ["x", 1])]
CONTENTS, BOOK, BOOK_RELATIONS = bombs.CONTENTS, bombs.BOOK, "xl/_rels/workbook.xml.rels"
#: Sends the column `H` only.
ONLY_H = Recipe(
    name="test",
    prompt="Look.",
    columns=("H",),  # type: ignore[arg-type]  # names become columns
    output={"type": "object", "properties": {"ok": {"type": "boolean"}}},
)


@pytest.fixture
def book(path: Path) -> Path:
    """A workbook of one row, with shared strings."""
    cells = f'<row r="2">{shared("A2", 2)}<c r="B2"><v>1</v></c></row>'
    return with_shared(
        path, f'<row r="1">{shared("A1", 0)}{shared("B1", 1)}</row>{cells}', ["H", "I", "x"]
    )


def renamed(path: Path, change: Callable[[str], str]) -> None:
    """Give the members of the zip other names."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(change(name), content)


def replaced(path: Path, part: str, old: bytes, new: bytes) -> None:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    rewrite(path, part, change)


# Parts that nothing reads


@pytest.mark.parametrize(
    "name",
    [
        "xl/drawings/drawing1.xml",
        "xl/worksheets/sheet2.xml",
        "__MACOSX/xl/worksheets/._sheet1.xml",
        "_rels/.rels",
        "__MACOSX/._[Content_Types].xml",
        "docProps/core.xml",
        "xl/theme/theme1.xml",
    ],
)
def test_a_malformed_part_that_nothing_reads_does_no_harm(book: Path, name: str) -> None:
    with zipfile.ZipFile(book) as package:
        parts = {each: package.read(each) for each in package.namelist() if each != name}
    with zipfile.ZipFile(book, "w") as package:
        for each, content in {**parts, name: b"\0\5\x16\7<x"}.items():
            package.writestr(each, content)
    assert read(book) == ROWS


def test_a_damaged_encrypted_doubled_or_huge_part_that_nothing_reads_does_no_harm(
    book: Path,
) -> None:
    with zipfile.ZipFile(book, "a", zipfile.ZIP_DEFLATED) as package:
        for name in ("xl/media/damaged.png", "xl/media/encrypted.png", "a.txt"):
            package.writestr(name, b"text that is long enough to be damaged" * 9)
        with pytest.warns(UserWarning, match="Duplicate"):
            package.writestr("a.txt", "another")
        package.getinfo("xl/media/encrypted.png").flag_bits |= 1
        package.writestr("xl/media/huge.png", b"0")
        package.getinfo("xl/media/huge.png").file_size = 9 << 30
        at = package.getinfo("xl/media/damaged.png").header_offset
    content = bytearray(book.read_bytes())
    content[at + 55] ^= 0xFF
    book.write_bytes(content)
    with zipfile.ZipFile(book) as package, pytest.raises(zipfile.BadZipFile):
        package.read("xl/media/damaged.png")
    assert read(book) == ROWS


def test_an_encrypted_part_that_is_read_is_refused(book: Path) -> None:
    with zipfile.ZipFile(book, "a") as package:
        package.writestr("other.txt", "")
        package.getinfo(SHEET_PART).flag_bits |= 1
    assert refusal(book) == "invoices.xlsx: the zip is encrypted; save it without a password"


# Names of parts


def test_names_of_parts_ignore_case(book: Path) -> None:
    renamed(book, str.upper)
    assert read(book) == ROWS


@pytest.mark.parametrize("spelled", ["sharedstrings.xml", "SharedStrings.xml"])
def test_shared_strings_are_found_whatever_their_case(book: Path, spelled: str) -> None:
    renamed(book, lambda name: name.replace("sharedStrings.xml", spelled))
    assert read(book) == ROWS


def test_folders_may_be_divided_by_backslashes(book: Path) -> None:
    renamed(book, lambda name: name.replace("/", "\\"))
    assert read(book) == ROWS


def test_shared_strings_are_found_by_the_workbooks_relation(book: Path) -> None:
    renamed(book, lambda name: name.replace("sharedStrings.xml", "texts.xml"))
    replaced(book, CONTENTS, b"/xl/sharedStrings.xml", b"/elsewhere.xml")
    kind = f"{bombs.OFFICE}/sharedStrings".encode()
    relation = b'<Relationship Id="s9" Type="%s" Target="/xl/texts.xml"/></Relationships>' % kind
    replaced(book, BOOK_RELATIONS, b"</Relationships>", relation)
    assert read(book) == ROWS


def test_the_workbook_is_found_by_the_packages_relation(book: Path) -> None:
    renamed(book, lambda name: name.replace("xl/workbook.xml", "xl/book.xml"))
    renamed(book, lambda name: name.replace("workbook.xml.rels", "book.xml.rels"))
    replaced(book, "_rels/.rels", b"workbook.xml", b"book.xml")
    assert read(book) == ROWS
    renamed(book, lambda name: "old.xml" if name == CONTENTS else name)
    assert read(book) == ROWS


def test_a_workbook_without_shared_strings_may_do_without_their_part(path: Path) -> None:
    bombs.write(path)
    renamed(path, lambda name: "old.xml" if name == bombs.STRINGS else name)
    assert read(path) == [(0, ["x"])]


def test_shared_strings_that_are_missing_are_said(book: Path) -> None:
    renamed(book, lambda name: name.replace("xl/sharedStrings.xml", "old.xml"))
    replaced(book, SHEET_PART, shared("A1", 0).encode(), text("A1", "H").encode())
    replaced(book, SHEET_PART, shared("B1", 1).encode(), text("B1", "I").encode())
    assert "has no readable value in A2 ('2')" in refusal(book)


# Strict workbooks

STRICT = {
    b"http://schemas.openxmlformats.org/spreadsheetml/2006/main": (
        b"http://purl.oclc.org/ooxml/spreadsheetml/main"
    ),
    b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships"
    ),
}


def strict(path: Path) -> Path:
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, re.sub(rb"http://[a-zA-Z0-9./]+", _strict_name, content))
    return path


def _strict_name(found: re.Match[bytes]) -> bytes:
    return STRICT.get(found[0], found[0])


def test_a_strict_workbook_is_read(book: Path) -> None:
    assert read(strict(book)) == ROWS


def test_a_strict_workbooks_dates_are_read(book: Path) -> None:
    replaced(book, SHEET_PART, b'<c r="B2"><v>1</v>', b'<c r="B2" t="d"><v>2024-05-01T10:30:00</v>')
    assert read(strict(book)) == [(0, ["x", datetime(2024, 5, 1, 10, 30)])]


def test_a_text_that_names_the_namespace_stays_as_it_is(book: Path) -> None:
    (name, *_) = STRICT.values()
    replaced(book, "xl/sharedStrings.xml", b"<t>x</t>", b"<t>%s</t>" % name)
    assert read(strict(book)) == [(0, [name.decode(), 1])]


# Cells


@pytest.mark.parametrize(
    ("old", "new", "cells"),
    [
        ('<c r="B2"><v>1</v></c>', '<c r="B2"><v/></c>', ["x", None]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t="s"><v/></c>', ["x", None]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t="s"><v></v></c>', ["x", None]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" s=""><v>1</v></c>', ["x", 1]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t=""><v>1</v></c>', ["x", 1]),
        ('<c r="B2"><v>1</v></c>', '<c r="b2"><v>1</v></c>', ["x", 1]),
        ('<c r="B2"><v>1</v></c>', '<c r=""><v>1</v></c>', ["x", 1]),
        (
            '<c r="B2"><v>1</v></c>',
            '<c r="B2" t="inlineStr"><v>1.0</v><is><r><t>1</t></r><r><t>.</t></r></is></c>',
            ["x", "1."],
        ),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t="inlineStr"><v>y</v></c>', ["x", "y"]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t="b"><v>true</v></c>', ["x", True]),
        ('<c r="B2"><v>1</v></c>', '<c r="B2" t="b"><v>false</v></c>', ["x", False]),
    ],
)
def test_a_cell_may_be_spelled_otherwise(book: Path, old: str, new: str, cells: list[Cell]) -> None:
    replaced(book, SHEET_PART, old.encode(), new.encode())
    assert read(book) == [(0, cells)]


@pytest.mark.parametrize("by_pattern", [True, False])
@pytest.mark.parametrize(
    ("spelled", "number"),
    [("1.0", 1), ("1E0", 1), ("10e-1", 1), ("-2.00", -2), ("1.5", 1.5), ("1E300", 1e300)],
)
def test_a_whole_number_is_one_however_a_program_writes_it(
    book: Path, by_pattern: bool, spelled: str, number: float
) -> None:
    """Else saving a file anew would make another batch, and each row would be paid for again."""
    replaced(book, SHEET_PART, b"<v>1</v></c></row>", f"<v>{spelled}</v></c></row>".encode())
    with open_sheet(book, by_pattern=by_pattern) as sheet:
        ((_, (_, cell)),) = sheet.rows()
    assert (cell, type(cell)) == (number, type(number))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("<v>*</v>", "*"),
        ("<v>1e999</v>", "1e999"),
        ('t="b"><v>yes</v>', "yes"),
        ('t="d"><v>soon</v>', "soon"),
        ('t="s"><v>99</v>', CellError("#REF!")),
        ('t="s"><v>-1</v>', CellError("#REF!")),
    ],
)
def test_a_cell_that_holds_no_value_of_its_type_refuses_only_a_column_that_is_sent(
    book: Path, cell: str, value: Cell
) -> None:
    new = f'<c r="B2" {cell}</c>' if cell.startswith("t") else f'<c r="B2">{cell}</c>'
    replaced(book, SHEET_PART, b'<c r="B2"><v>1</v></c>', new.encode())
    shown = re.findall("<v>(.*)</v>", cell)[0]
    assert f"row 2: has no readable value in B2 ({shown!r})" in refusal(book)
    assert read(book, recipe=ONLY_H) == [(0, ["x", value])]


def test_the_first_cell_that_can_not_be_read_is_named(book: Path) -> None:
    rows = (
        '<row r="3"><c r="B3"><v>second</v></c></row><row r="4"><c r="A4"><v>*</v></c></row>'
        "</sheetData>"
    )
    replaced(book, SHEET_PART, b"</sheetData>", rows.encode())
    replaced(book, SHEET_PART, b'<c r="B2"><v>1</v></c>', b'<c r="B2"><v>first</v></c>')
    assert "row 2: has no readable value in B2 ('first')" in refusal(book)
    assert "row 4: has no readable value in A4 ('*')" in refusal(book, recipe=ONLY_H)


def test_a_formula_without_a_value_refuses_only_a_column_that_is_sent(book: Path) -> None:
    replaced(book, SHEET_PART, b'<c r="B2"><v>1</v></c>', b'<c r="B2"><f>A1</f></c>')
    assert "the formula in B2 has no stored value" in refusal(book)
    assert read(book, recipe=ONLY_H) == [(0, ["x", None])]


# Number formats


@pytest.mark.parametrize("number", sorted(EAST_ASIAN_FORMATS))
def test_a_date_in_an_east_asian_format_is_a_date(path: Path, number: int) -> None:
    styles = f'<cellXfs><xf numFmtId="0"/><xf numFmtId="{number}"/></cellXfs>'
    bombs.write(path, bombs.STYLES, (styles,))
    cells = '<row r="2"><c r="A2" s="1"><v>45413.5</v></c></row>'
    at = bombs.ROWS.index('<row r="2"')
    replaced(path, bombs.SHEET, bombs.ROWS[at:].encode(), cells.encode())
    assert read(path) == [(0, [datetime(2024, 5, 1, 12)])]
    with open_sheet(path) as sheet:
        assert sheet.formats == (EAST_ASIAN_FORMATS[number],)
    replaced(path, bombs.SHEET, b"45413.5", b"0.5")
    assert read(path) == [(0, [time(12)])]


def test_the_ids_are_those_of_the_standard() -> None:
    assert set(EAST_ASIAN_FORMATS) == {*range(27, 37), *range(50, 59)}


def test_a_workbooks_own_format_wins_over_a_built_in_one(path: Path) -> None:
    styles = (
        '<numFmts><numFmt numFmtId="27" formatCode="0.0"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="27"/></cellXfs>'
    )
    bombs.write(path, bombs.STYLES, (styles,))
    cells = '<row r="2"><c r="A2" s="1"><v>45413</v></c></row>'
    at = bombs.ROWS.index('<row r="2"')
    replaced(path, bombs.SHEET, bombs.ROWS[at:].encode(), cells.encode())
    assert read(path) == [(0, [45413])]
