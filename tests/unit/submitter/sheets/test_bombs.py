"""No file, however small, makes reading it take more than 64 MB of memory."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowfleet.errors import InputError
from submitter.sheets.opening import open_sheet
from submitter.sheets.workbook import MAX_STYLES
from tests.support import bombs

#: Bytes that reading may take beside what reading a good file has taken.
MOST = 64 << 20


def measured(paths: list[Path]) -> list[tuple[int, str | None]]:
    """Read the files in a process of their own: what each took, and the sentence it got."""
    return [(grown, said) for grown, said, _ in bombs.measured(paths)]


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error, open_sheet(path, name=path.name):
        pass
    assert error.value.exit_code == 2
    assert str(error.value).startswith(path.name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("part", [bombs.STYLES, bombs.BOOK, bombs.STRINGS, bombs.SHEET, None])
def test_a_bomb_in_any_part_of_a_workbook_takes_little_memory(tmp_path: Path, part: str) -> None:
    usual = (bombs.STYLES, bombs.BOOK, bombs.STRINGS, bombs.SHEET)
    names = [
        name
        for name, (where, _) in bombs.BOMBS.items()
        if where == part or (part is None and where not in usual)
    ]
    paths = []
    for number, name in enumerate(names):
        where, pieces = bombs.BOMBS[name]
        paths.append(bombs.write(tmp_path / f"{number}.xlsx", where, pieces()))
        assert paths[-1].stat().st_size < 2_500_000
    for name, path, (grown, said) in zip(names, paths, measured(paths), strict=True):
        assert grown < MOST, f"{name}: {grown:,} bytes"
        assert said is None or (said.startswith(path.name) and "\n" not in said), name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cell formats", "'xl/styles.xml' has more than 65,490 cell formats"),
        ("number formats", "'xl/styles.xml' has more than 10,000 number formats"),
        ("sheets", "'xl/workbook.xml' has more than 10,000 sheets"),
        ("contents", "'[Content_Types].xml' has more than 20,000 entries"),
        ("relations", "'xl/_rels/workbook.xml.rels' has more than 10,000 relations"),
        ("nested elements", "'xl/workbook.xml' nests more than 100 XML elements"),
        ("different elements", "'xl/workbook.xml' has more XML names than a spreadsheet needs"),
        ("different prefixes", "'xl/workbook.xml' has more XML names than a spreadsheet needs"),
        ("one attribute", "'xl/workbook.xml' has a tag or text too long for a spreadsheet"),
        ("one string", "'xl/sharedStrings.xml' has a cell of more than 1,048,576 characters"),
        ("elements in a row", "sheet 'S', row 3: has more than 100,000 XML elements"),
        ("text in a formula", "sheet 'S', row 3: has more than 4 MiB of XML"),
        ("above the rows", "sheet 'S', above its rows: has more than 100,000 XML elements"),
    ],
)
def test_a_bomb_is_refused_by_its_part(tmp_path: Path, name: str, says: str) -> None:
    part, pieces = bombs.BOMBS[name]
    assert says in refusal(bombs.write(tmp_path / "bomb.xlsx", part, pieces()))


# What Excel can hold is read


def rows(path: Path) -> list[tuple[int, list[object]]]:
    with open_sheet(path) as sheet:
        return list(sheet.rows())


def test_as_many_styles_as_excel_holds_are_read(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield '<numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm"/></numFmts>'
        yield "<fonts>" + "<font><sz val='9'/></font>" * 1_000 + "</fonts>"
        yield "<cellXfs>"
        yield '<xf numFmtId="0"><alignment wrapText="1"/><protection/></xf>' * (MAX_STYLES - 1)
        yield '<xf numFmtId="164"/></cellXfs>'

    path = bombs.write(tmp_path / "styles.xlsx", bombs.STYLES, pieces())
    cell = f'<row r="2"><c r="A2" s="{MAX_STYLES - 1}"><v>45000</v></c></row>'
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    parts[bombs.SHEET] = parts[bombs.SHEET].replace(
        bombs.ROWS[bombs.ROWS.index('<row r="2"') :].encode(), cell.encode()
    )
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    with open_sheet(path) as sheet:
        assert sheet.formats == ("yyyy\\-mm",)
        ((_, (value,)),) = sheet.rows()
    assert str(value).startswith("2023-03-15")
    ((grown, said),) = measured([path])
    assert said is None
    assert grown < MOST


def test_many_defined_names_and_merged_cells_are_read(tmp_path: Path) -> None:
    name = '<definedName name="n">S!$A$1:$B$2</definedName>'
    names = bombs.write(tmp_path / "n.xlsx", bombs.BOOK, (name * 50_000,))
    merged = '<mergeCell ref="A5:B5"/>'
    cells = (f"<sheetData>{bombs.ROWS}</sheetData>", merged * 50_000)
    for path in (names, bombs.write(tmp_path / "m.xlsx", bombs.SHEET, cells)):
        assert rows(path) == [(0, ["x"])]


def test_shared_strings_beyond_memory_are_read_from_a_file(tmp_path: Path) -> None:
    texts = "".join(f"<si><t>{number}{'y' * 10_000}</t></si>" for number in range(2_000))
    cells = "".join(
        f'<row r="{place + 2}"><c r="A{place + 2}" t="s"><v>{place * 7 % 2_000}</v></c></row>'
        for place in range(2_000)
    )
    path = bombs.write(tmp_path / "s.xlsx", bombs.STRINGS, (texts,))
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name).decode() for name in package.namelist()}
    head = bombs.ROWS[: bombs.ROWS.index('<row r="2"')]
    parts[bombs.SHEET] = parts[bombs.SHEET].replace(bombs.ROWS, head + cells)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    with open_sheet(path) as sheet:
        for place, (number, (text,)) in enumerate(sheet.rows()):
            assert (number, text) == (place, f"{place * 7 % 2_000}{'y' * 10_000}")
    ((grown, said),) = measured([path])
    assert said is None
    assert grown < MOST


# The zip around the parts


def test_a_part_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = bombs.write(tmp_path / "t.xlsx")
    with zipfile.ZipFile(path, "a") as package, pytest.warns(UserWarning, match="Duplicate"):
        package.writestr(bombs.SHEET, "<worksheet/>")
    assert "the zip holds the part 'xl/worksheets/sheet1.xml' twice" in refusal(path)


def test_a_zip_with_too_many_members_is_refused(tmp_path: Path) -> None:
    path = bombs.write(tmp_path / "m.xlsx")
    with zipfile.ZipFile(path, "a") as package:
        for number in range(10_001):
            package.writestr(f"a{number}", "")
    assert "members, too many for a spreadsheet" in refusal(path)


@pytest.mark.parametrize("large", [False, True])
def test_a_huge_directory_is_refused_unread(tmp_path: Path, large: bool) -> None:
    path = bombs.write(tmp_path / "d.xlsx")
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    if large:  # the larger record is the one that counts
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, 64 << 20, 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
        content[end:end] = record + locator
    else:
        struct.pack_into("<L", content, end + 12, 64 << 20)
    path.write_bytes(content)
    assert "has too many members for a spreadsheet" in refusal(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "é/語", "x" * 60_000])
def test_odd_names_of_members_do_no_harm(tmp_path: Path, name: str) -> None:
    path = bombs.write(tmp_path / "o.xlsx")
    with zipfile.ZipFile(path, "a") as package:
        package.writestr(name, "x")
    assert rows(path) == [(0, ["x"])]
    assert not (tmp_path.parent / "etc").exists()


# Text


def test_a_text_of_one_line_or_of_nothing_is_refused_within_bounds(tmp_path: Path) -> None:
    line, nothing, quoted = (tmp_path / name for name in ("line.csv", "nothing.csv", "quoted.csv"))
    line.write_bytes(b"H\n" + b"x," * (12 << 20))
    with nothing.open("wb") as file:
        file.truncate(80 << 20)  # NUL, all of it
    quoted.write_bytes(b'H\n"' + b"x\n" * (5 << 20))
    fields = tmp_path / "fields.csv"
    fields.write_bytes(b"H\n" + b'"x\n",' * (2 << 20))
    said = measured([line, nothing, quoted, fields])
    for grown, sentence in said:
        assert grown < MOST + (8 << 20)
        assert sentence is not None
    assert "line.csv, line 2: the row there has more than 4,194,304 characters" in str(said[0][1])
    assert "nothing.csv, line 1: the row there has more than" in str(said[1][1])
    assert "quoted.csv, line " in str(said[2][1])
    assert "fields.csv, line " in str(said[3][1])
