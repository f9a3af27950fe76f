"""A sheet that passes its check is read to its end; every other gets one sentence before that."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowfleet.cells import Cell, CellError, decode, encode_all
from rowfleet.errors import InputError
from submitter.results.columns import FinishedRow
from submitter.results.target import atomic
from submitter.results.writer import write_sheet
from submitter.sheets.opening import open_sheet
from tests.support import bombs

HEAD = '<row r="1"><c r="A1" t="str"><v>H</v></c><c r="B1" t="str"><v>I</v></c></row>'
LONG = "1" * 5_000
DATES = '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="46"/></cellXfs>'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odd.xlsx"


def with_rows(path: Path, rows: str, before: str = "", after: str = "") -> Path:
    """Write a workbook with the header H, I and the row elements ``rows`` below it."""
    xml = f"{before}<sheetData>{HEAD}{rows}</sheetData>{after}"
    return bombs.write(path, bombs.SHEET, (xml,))


def changed(path: Path, part: str, old: bytes, new: bytes, method: int = 8) -> Path:
    """Write the part again with other bytes in it, compressed by the zip ``method``."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content, method if name == part else None)
    return path


def read(path: Path) -> list[tuple[int, list[Cell]]]:
    with open_sheet(path) as sheet:
        rows = list(sheet.rows())
        assert len(rows) == sheet.count()
        return rows


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught, open_sheet(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path.parent}/")


# The check and the reading are one conversion


@pytest.mark.parametrize(
    "value", ["0" * 5_000 + "1", "9" * 400, "1e999", "-<!-- -->", "nan", "5 5"]
)
@pytest.mark.parametrize("after", ["", "<!-- -->"])
def test_a_number_that_can_not_be_read_is_refused_before_any_row(
    path: Path, value: str, after: str
) -> None:
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c></row>' for row in range(2, 999))
    with_rows(path, rows + f'<row r="999"><c r="A999"><v>{value}</v></c>{after}</row>')
    assert re.match(
        r"odd.xlsx, sheet 'S', row 999: has no readable value in A999 \('.{,20}'\)", refusal(path)
    )


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ('<c r="A2"><v>-<t>1</t></v></c>', "row 2: has XML elements within a value"),
        ('<c r="A2"><v>1</v><v>2</v></c>', "row 2: has two values in one cell"),
        ('<c r="A2" t="d"><v>PT99999999999999H</v></c>', "row 2: has no readable value in A2"),
        ('<c r="A2" t="s"><v>-1</v></c>', "row 2: has no readable value in A2 ('-1')"),
        (f'<c r="A2" s="{LONG}"><v>1</v></c>', "row 2: has a cell with the style '1111"),
        ('<x><c r="A2"><v>1</v></c></x>', "row 2: has a cell outside the rows"),
        ('<row r="3"><c r="A3"><v>1</v></c></row>', "has rows outside its table"),
    ],
)
def test_what_reading_would_stumble_over_is_refused(path: Path, cells: str, sentence: str) -> None:
    assert sentence in refusal(with_rows(path, f'<row r="2">{cells}</row>'))


@pytest.mark.parametrize("number", [LONG, "٣", "", "2.0", "-2"])
def test_a_row_number_is_a_few_digits(path: Path, number: str) -> None:
    xml = f'<row r="{number}"><c t="str"><v>x</v></c></row>'
    if number:
        assert "the row number" in refusal(with_rows(path, xml))
    else:
        assert read(with_rows(path, xml)) == [(0, ["x", None])]


@pytest.mark.parametrize(
    "extra",
    [
        '</sheetData><sheetData><row r="9"><c r="A9"><v>9</v></c></row>',
        '</sheetData><row r="9"><c r="A9"><v>9</v></c></row><sheetData>',
        '</sheetData><x><sheetData><row r="9"><c r="A9"><v>9</v></c></row></sheetData></x><x>',
    ],
)
def test_rows_beside_the_table_are_not_dropped_without_a_word(path: Path, extra: str) -> None:
    with_rows(path, '<row r="2"><c r="A2"><v>1</v></c></row>' + extra)
    if extra.endswith("<x>"):
        changed(path, bombs.SHEET, b"</sheetData></worksheet>", b"</x></worksheet>")
    assert re.search("rows outside its table|more than one table of rows", refusal(path))


ATOMS = st.sampled_from(
    [
        *("1", "2.5", "-", "e5", "1e5", "x", " ", "0" * 5_000, "99999999"),
        *("PT5H", "2026-01-02", "24:00:00", "PT9e9H", "true", "#REF!", "=1"),
        *("_x0000_", "_xD83D_", "<!-- -->", "&#10;"),
        *("<t>1</t>", "<v>2</v>", "<r><t>3</t></r>", "<rPh><t>4</t></rPh>"),
        "<y:v xmlns:y='y'>5</y:v>",
    ]
)
TEXT = st.lists(ATOMS, max_size=3).map("".join)
PIECE = st.one_of(
    *[st.builds("<{0}>{1}</{0}>".format, st.just(tag), TEXT) for tag in ("v", "is", "f", "x")],
    st.builds("<is><t>{}</t></is>".format, TEXT),
    st.builds("<is><r><t>{}</t></r><t>{}</t></is>".format, TEXT, TEXT),
    st.sampled_from(["<v/>", "<is/>", "5", "<c><v>1</v></c>"]),
)
CELL = st.builds(
    "<c{}{}{}>{}</c>".format,
    st.sampled_from(["", ' r="A{0}"', ' r="B{0}"', ' r="B"', ' r="{0}"', ' r="ZZZZ{0}"']),
    st.sampled_from(["", *(f' t="{kind}"' for kind in ("n", "s", "b", "d", "e", "str", "zz", ""))])
    | st.just(' t="inlineStr"'),
    st.sampled_from(["", ' s="0"', ' s="1"', ' s="2"', ' s="99999"', ' s=""', ' s="٣"']),
    st.lists(PIECE, max_size=2).map("".join),
)
CHILD = st.one_of(
    CELL, CELL, st.builds("<x>{}</x>".format, CELL), st.just('<foo r="zz" s="q"><v>1</v></foo>')
)
ROW = st.builds(
    "<row{}>{}</row>".format,
    st.sampled_from(["", ' r="{0}"', ' r="{0}"', ' r="0{0}"', ' r=""', ' r="{0}.0"', ' r="1_0"']),
    st.lists(CHILD, max_size=2).map("".join),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(rows=st.lists(ROW, min_size=1, max_size=3))
def test_what_the_check_lets_through_is_read_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xlsx"
    with_rows(path, "".join(row.replace("{0}", str(at)) for at, row in enumerate(rows, 2)))
    changed(path, bombs.STYLES, b"</styleSheet>", f"{DATES}</styleSheet>".encode())
    try:
        with open_sheet(path) as sheet:
            found = list(sheet.rows())
            assert [position for position, _ in found] == [
                position for position, holds in enumerate(sheet.filled) if holds
            ]
    except InputError:
        return
    for _, cells in found:
        assert any(cell is not None and str(cell).strip() for cell in cells)
        for stored in encode_all(cells):
            decode(stored)
            str(stored).encode()


# What the libraries raise


@pytest.mark.parametrize("part", [bombs.SHEET, bombs.CONTENTS, bombs.BOOK, bombs.STRINGS])
@pytest.mark.parametrize("encoding", ["bogus", "zip_codec", "big5", "utf-7", "idna", "iso-8859-1"])
def test_a_part_is_in_utf_8_or_utf_16(path: Path, part: str, encoding: str) -> None:
    bombs.write(path)
    with zipfile.ZipFile(path) as package:
        old = package.read(part)
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + old
    assert refusal(changed(path, part, old, declared)) == (
        f"odd.xlsx: the part {part!r} is in the encoding {encoding!r}, not in UTF-8 or UTF-16; "
        f"save it in Excel or LibreOffice"
    )


@pytest.mark.parametrize("encoding", ["UTF-8", "utf-16"])
def test_a_part_in_utf_8_or_utf_16_is_read(path: Path, encoding: str) -> None:
    bombs.write(path)
    with zipfile.ZipFile(path) as package:
        old = package.read(bombs.SHEET)
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{old.decode()}'.encode(encoding)
    assert read(changed(path, bombs.SHEET, old, xml)) == [(0, ["x"])]


@pytest.mark.parametrize("part", [bombs.SHEET, bombs.CONTENTS])
@pytest.mark.parametrize("at", [4, 12], ids=["properties", "data"])
def test_a_damaged_lzma_member_is_refused(path: Path, part: str, at: int) -> None:
    bombs.write(path)
    changed(path, part, b"<", b"<", zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    start = content.index(part.encode()) + len(part) + at
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    assert refusal(path) == (
        f"odd.xlsx: the part {part!r}: truncated or damaged, not a whole .xlsx file; copy it again"
    )


def test_a_members_name_that_is_not_its_encoding_is_refused(path: Path) -> None:
    bombs.write(path)
    named = "worksheets/é.xml"
    changed(path, bombs.BOOK_RELATIONS, b"worksheets/sheet1.xml", named.encode())
    with zipfile.ZipFile(path, "a") as package:
        package.writestr(f"xl/{named}", package.read(bombs.SHEET))
    assert read(path) == [(0, ["x"])]
    content = path.read_bytes()
    path.write_bytes(content.replace("/é.xml".encode(), b"/\xff\xff.xml"))
    assert refusal(path).startswith("odd.xlsx: truncated or damaged")


def test_an_error_that_is_not_foreseen_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a cell's text")

    monkeypatch.setattr("submitter.sheets.values.value", broken)
    assert refusal(with_rows(path, "")) == (
        "odd.xlsx: the part 'xl/worksheets/sheet1.xml' can't be read (RuntimeError); "
        "open and save it in Excel"
    )


# Values that came back as others


@pytest.mark.parametrize("width", ["nan", "1e999", "-1", "256", "x"])
def test_a_width_that_no_column_can_have_is_ignored(path: Path, width: str) -> None:
    before = f'<cols><col min="1" max="2" width="{width}"/></cols>'
    with_rows(path, '<row r="2"><c r="A2"><v>1</v></c></row>', before)
    with open_sheet(path) as sheet:
        assert sheet.widths is None


@pytest.mark.parametrize("width", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_recorded_width_that_no_column_can_have_is_written_as_one(
    tmp_path: Path, width: float
) -> None:
    out = tmp_path / "out.xlsx"
    row = FinishedRow(number=0, cells=[1], status="done", output={}, error=None)
    with atomic(out) as file:
        write_sheet(
            file,
            out,
            title="S",
            header=["H"],
            formats=["General"],
            result_headers={},
            added=[],
            rows=[row],
            widths=[width],
        )
    sheet = openpyxl.load_workbook(out).worksheets[0]
    assert 1 <= sheet.column_dimensions["A"].width <= 255


@pytest.mark.parametrize("after", ["", "<!-- -->"])
def test_an_error_cell_that_holds_no_error_is_text(path: Path, after: str) -> None:
    cells = '<c r="A2" t="e"><v>=cmd|x!A1</v></c><c r="B2" t="e"><v>#REF!</v></c>'
    with_rows(path, f'<row r="2">{cells}{after}</row>')
    assert read(path) == [(0, ["=cmd|x!A1", CellError("#REF!")])]


ESCAPED = {
    "abcx005F_def": "abcx005F_def",
    "x005F_": "x005F_",
    "_x005F_x000D_": "_x000D_",
    "_x005F_x005F__x0041_": "_x005F_A",
    "_x000d_x": "\rx",
    "_x00e9_": "é",
    "_xD83D__xDE00_": "😀",
    "_xD83D_!": "\N{REPLACEMENT CHARACTER}!",
    "a_x0000_": "a\N{REPLACEMENT CHARACTER}",
    "_x41_ _X0041_": "_x41_ _X0041_",
}


@pytest.mark.parametrize("after", ["", "<!-- -->"], ids=["plain", "odd"])
@pytest.mark.parametrize(("escaped", "text"), ESCAPED.items())
def test_an_escape_is_the_same_in_shared_and_in_inline_text(
    path: Path, escaped: str, text: str, after: str
) -> None:
    cells = f'<c r="A2" t="inlineStr"><is><t>{escaped}</t></is></c><c r="B2" t="s"><v>0</v></c>'
    with_rows(path, f'<row r="2">{cells}{after}</row>')
    strings = f"<si><t>{escaped}</t>{after}</si>".encode()
    changed(path, bombs.STRINGS, b"</sst>", strings + b"</sst>")
    assert read(path) == [(0, [text, text])]


# .csv


def with_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_csv_whose_first_header_begins_as_a_zip_file_does_is_read(tmp_path: Path) -> None:
    path = with_bytes(tmp_path / "odd.csv", b"PK_ID,b\n1,2\n")
    with open_sheet(path) as sheet:
        assert sheet.header == ("PK_ID", "b")


CYRILLIC = "Имя,б\r\nАнна,2\r\n"
LATIN, OTHER = "a,b\nx,é2\n", "名称,上\n上上上,不上\n上,2\n"
GURMUKHI = "ਨਾਮ,ਅ\nਅੰਕ,ਉ\n"  # each of its letters has the byte of a line break
ENCODINGS = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16", "utf-32"]


@pytest.mark.parametrize("text", [LATIN, LATIN * 9_999, OTHER, OTHER * 9_999, CYRILLIC])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_csv_of_wide_characters_is_read(tmp_path: Path, text: str, encoding: str) -> None:
    rows = [line.split(",") for line in text.splitlines()[1:]]
    with open_sheet(with_bytes(tmp_path / "odd.csv", text.encode(encoding))) as sheet:
        assert [list(map(str, cells)) for _, cells in sheet.rows()] == rows
        assert sheet.header == tuple(text.splitlines()[0].split(","))


@pytest.mark.parametrize("text", [LATIN, OTHER, CYRILLIC, GURMUKHI])
@pytest.mark.parametrize("encoding", ENCODINGS[:4])
def test_half_a_character_at_the_end_is_no_wide_text(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = with_bytes(tmp_path / "odd.csv", text.encode(encoding)[:-1])
    assert re.search("holds a NUL character|neither UTF-8 nor cp1252", refusal(path))


def test_a_wide_text_that_may_be_a_narrow_one_needs_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    assert "holds a NUL character" in refusal(with_bytes(path, GURMUKHI.encode("utf-16-le")))
    assert len(read(with_bytes(path, GURMUKHI.encode("utf-16")))) == 1


def test_a_text_that_is_not_what_its_mark_says_is_refused(tmp_path: Path) -> None:
    path = with_bytes(tmp_path / "odd.csv", b"\xff\xfea\0\n\0\0\xd8x\0")
    assert refusal(path) == "odd.csv: its text is not the UTF-16 it begins as"


@pytest.mark.parametrize("text", [LATIN, OTHER])
def test_a_csv_in_utf_16_with_a_byte_order_mark_is_read(tmp_path: Path, text: str) -> None:
    for encoding in ("utf-16", "utf-8", "utf-8-sig"):
        assert read(with_bytes(tmp_path / "odd.csv", text.encode(encoding)))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\0,b\n1,2\n", 1),
        (b"a,b\n1,2\n3\0,4\n", 3),
        (b'a,b\n"one\ntwo\0",4\n', 3),
        (b"sep=;\na;b\n1;\0\n", 3),
        (b"a,b\n1,x\0y\n", 2),
        (b"a,b\n" + b"1,x\0\0\0\n" * 99, 2),
        ("a,b\n1,é\0\n".encode("cp1252"), 2),
        ("a,b\n1,\0\n".encode("utf-16"), 2),
        (b"a,b\n" + b"1,2\n" * 99_999 + b"1,\0\n", 100_001),
    ],
)
def test_a_nul_is_no_text(tmp_path: Path, content: bytes, line: int) -> None:
    assert refusal(with_bytes(tmp_path / "odd.csv", content)) == (
        f"odd.csv, line {line}: holds a NUL character, which no text has; save it as UTF-8"
    )
