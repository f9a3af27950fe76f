"""Rows in plain form are read beside the XML parser, and give the same values."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]  # for a look at the patterns
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rowfleet.errors import InputError
from rowfleet.recipes.loading import parse
from rowfleet.settings import load_settings
from submitter.cli.asked import Asked
from submitter.cli.setup import opened_sheet
from submitter.sheets import safe_xml, selection
from submitter.sheets.opening import open_sheet
from submitter.sheets.plain import last_runs, plain_rows
from submitter.sheets.shared_strings import SharedStrings

NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
SHARED = ["Name", "seven", "", " \u00a0", "x_x000D_y", "a &amp; b", "_x005F_x000D_", "語", "é"]

# A cell is a function of its reference. `s="1"` is a date, `s="2"` a duration.
NUMBERS = [
    "0",
    "-12",
    "3.25",
    "45658",
    "1E-05",
    "2e3",
    "007",
    ".5",
    " 5 ",
    "60.5",
    "-1",
    "1e17",
] * 4
NUMBERS += ["1e999", "abc"]
TEXTS = st.lists(
    st.sampled_from(
        [
            *"aZ0 .;\t\n'\"]",
            "\xa0",
            "\u3000",
            "é",
            "語",
            "😀",
            "_x000D_",
            "_x0041_",
            "x005F_",
            "&amp;",
            "&lt;",
            "&gt;",
            "&quot;",
            "&apos;",
            "&#10;",
            "&#x41;",
            "&#xA0;",
            "\r",
            "]]&gt;",
        ]
    ),
    max_size=5,
).map("".join)
STYLES = st.sampled_from(["", "", *(f' s="{style}"' for style in (0, 1, 2, 3, 4, 77))])
FORMULAS = st.sampled_from(
    [
        "",
        "",
        "<f>B1*2</f>",
        '<f t="shared" si="0"/>',
        "<f>A1&lt;2</f>",
        '<f t="array" ref="A1">1</f>',
    ]
)
OTHER_CELLS = """
<c r="{}" t="b"><v>1</v></c>
<c r="{}" t="b"><v>0</v></c>
<c r="{}" t="e"><v>#REF!</v></c>
<c r="{}" t="e"><v>#N/A</v></c>
<c r="{}" t="d"><v>2026-01-02</v></c>
<c r="{}" t="n"><v>5</v></c>
<c r="{}" s="1"/>
<c r="{}" s="0" />
<c r="{}"></c>
<c r="{}"><v/></c>
<c r="{}" t="s"><v/></c>
<c r="{}"><f>A1</f></c>
<c r="{}"><f>A1</f><v></v></c>
<c><v>9</v></c>
<c r='{}'><v>4</v></c>
<c t="s" r="{}"><v>1</v></c>
<c r="{}"><v><!-- -->3</v></c>
<c r="{}" t="str"><v><![CDATA[</row><row r="1">]]></v></c>
""".strip().split("\n")
CELLS = st.one_of(
    st.builds('<c r="{{}}"{}>{}<v>{}</v></c>'.format, STYLES, FORMULAS, st.sampled_from(NUMBERS)),
    st.builds(
        '<c r="{{}}"{} t="s"><v>{}</v></c>'.format,
        STYLES,
        st.sampled_from([*range(len(SHARED))] * 9 + [len(SHARED)]),
    ),
    st.builds('<c r="{{}}"{} t="str">{}<v>{}</v></c>'.format, STYLES, FORMULAS, TEXTS),
    st.builds('<c r="{{}}"{} t="inlineStr"><is><t>{}</t></is></c>'.format, STYLES, TEXTS),
    st.builds(
        '<c r="{{}}" t="inlineStr"><is><t xml:space="preserve">{}</t></is></c>'.format, TEXTS
    ),
    st.builds('<c r="{{}}" t="inlineStr"><is><r><t>{}</t></r></is></c>'.format, TEXTS),
    st.sampled_from(OTHER_CELLS),
)
ROWS = st.tuples(
    st.sampled_from(
        [
            '<row r="{}">',
            '<row r="{}" spans="1:3" ht="15.75" customHeight="1">',
            "<row>",
            '<row r="{}" x14ac:dyDescent="0.25">',
            "<row r='{}'>",
            '<row spans="1:3" r="{}">',
        ]
    ),
    st.lists(CELLS, max_size=3),
    st.sampled_from(["", "", "", "\n", "\r\n", "<!-- </row> -->", '<row r="{next}"/>']),
)


def write(path: Path, rows: str, strings: list[str] = SHARED) -> Path:
    """Write the smallest workbook around row elements."""
    relation = f'<Relationship Id="r{{}}" Type="{OFFICE}/relationships/{{}}" Target="{{}}"/>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        'content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        + "".join(
            f'<Override PartName="/xl/{part}.xml" ContentType="{kind}.{name}+xml"/>'
            for part, name in (
                ("workbook", "sheet.main"),
                ("sheet", "worksheet"),
                ("styles", "styles"),
                ("strings", "sharedStrings"),
            )
        )
        + "</Types>",
        "xl/workbook.xml": f'<workbook xmlns="{NS}" xmlns:r="{OFFICE}/relationships"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/'
        'package/2006/relationships">'
        + relation.format(1, "worksheet", "sheet.xml")
        + relation.format(2, "styles", "styles.xml")
        + relation.format(3, "sharedStrings", "strings.xml")
        + "</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{NS}"><fonts><font/></fonts>'
        "<fills><fill><patternFill/></fill></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs><cellXfs><xf/>"
        '<xf numFmtId="14"/><xf numFmtId="46"/>'
        '<xf numFmtId="10"/><xf numFmtId="4"/></cellXfs></styleSheet>',
        "xl/strings.xml": f'<sst xmlns="{NS}">'
        + "".join(f"<si><t>{string}</t></si>" for string in strings)
        + "</sst>",
        "xl/sheet.xml": f'<?xml version="1.0" encoding="UTF-8"?>\r\n<worksheet xmlns="{NS}" '
        f'xmlns:x14ac="urn:x"><sheetData>{rows}</sheetData><mergeCells><mergeCell ref="A1:B1"/>'
        "</mergeCells></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return path


def test_the_smallest_workbook_is_one(tmp_path: Path) -> None:
    xml = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>{n}</v></c></row>' for n in (1, 4))
    assert seen(write(tmp_path / "s.xlsx", xml))[0] == [(2, [(str, "x\ry")])]


def seen(path: Path, *, by_pattern: bool = True) -> Any:
    """Return all that a sheet gives, or the sentence with which it is refused."""
    try:
        with open_sheet(path, by_pattern=by_pattern) as sheet:
            rows = [(n, [(type(c), c) for c in cells]) for n, cells in sheet.rows()]
            assert all(
                [(n, [(type(c), c) for c in cells]) for n, cells in sheet.rows(start)]
                == [row for row in rows if row[0] >= start]
                for start in range(len(sheet.filled))
            )
            return rows, sheet.header, sheet.formats, bytes(sheet.filled)
    except InputError as error:
        return str(error)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(ROWS, max_size=8),
    chunk=st.sampled_from([40, 300, 1 << 18]),
    kept=st.sampled_from([1, 200, last_runs.LEAST_BYTES]),
)
@example(rows=[('<row r="{}">', ['<c r="{}" s="1"><v>-1</v></c>'], "")] * 3, chunk=1 << 18, kept=1)
@example(
    rows=[('<row r="{}">', ['<c r="{}" t="s"><v>3</v></c>'], "<!-- </row> -->")] * 3,
    chunk=40,
    kept=1,
)
@example(rows=[('<row r="{}">', ['<c r="{}"><v>-1</v></c>'], "")] * 4, chunk=40, kept=1)
@example(
    rows=[
        ('<row r="{}">', ["<c r='{}'><v>4</v></c>" if odd else '<c r="{}"><v>4</v></c>'], "")
        for odd in (False, True, False)
    ],
    chunk=1 << 18,
    kept=last_runs.LEAST_BYTES,
)
def test_plain_rows_are_read_as_the_parser_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], chunk: int, kept: int
) -> None:
    header = '<c r="B1" t="inlineStr"><is><t>B</t></is></c><c r="C1"><v>3</v></c></row>'
    xml, number = f'<row r="1"><c r="A1" t="s"><v>0</v></c>{header}', 2
    for start, cells, after in rows:
        filled = "".join(
            cell.format(f"{letter}{number}") for letter, cell in zip("ABC", cells, strict=False)
        )
        xml += f"{start.format(number)}{filled}</row>{after.format(next=number + 1)}"
        number += 1 + ("next" in after)
    path = write(tmp_path / "s.xlsx", xml)
    with monkeypatch.context() as patch:
        patch.setattr(plain_rows, "CHUNK", chunk)
        patch.setattr(last_runs, "LEAST_BYTES", kept)
        ours = seen(path)
        patch.setattr(plain_rows, "rows", None)
        assert ours == seen(path, by_pattern=False)


@pytest.mark.parametrize("reader", ["pattern", "parser"])
def test_setting_chooses_the_reader_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    strings = "".join(f"<si><t>{string}</t></si>" for string in SHARED)
    assert plain_rows.STRINGS.fullmatch(strings.encode())
    xml = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>{n}</v></c></row>' for n in (1, 4))
    path = write(tmp_path / "s.xlsx", xml)
    runs: list[bytes] = []
    split = plain_rows.split

    def seen_split(*arguments: Any) -> Iterator[tuple[bytes, bytes]]:
        for other, run in split(*arguments):
            runs.append(run)
            yield other, run

    monkeypatch.setattr(plain_rows, "split", seen_split)
    chosen = load_settings({"ROWFLEET_SHEET_READER": reader})
    recipe = parse("name: r\nprompt: p\noutput: {type: object, properties: {a: {}}}", "r.yaml")
    with opened_sheet(path, Asked(), recipe, chosen) as (sheet, _):
        assert [cells for _, cells in sheet.rows()] == [["x\ry"]]
    assert any(runs) == (reader == "pattern")


def test_an_ordinary_sheet_is_all_in_plain_form() -> None:
    cells = '<c r="A{0}" s="1" t="s"><v>12</v></c><c r="B{0}"><f>A{0}*2</f><v>1.5</v></c>'
    rows = "".join(
        f'<row r="{n}" spans="1:2" x14ac:dyDescent="0.25">{cells.format(n)}</row>'
        for n in range(1, 5000)
    )
    head = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n<worksheet xmlns="{NS}">'
    xml = f"{head}<sheetData>{rows}</sheetData></worksheet>".encode()
    pattern = plain_rows.rows(13, [])
    pieces = list(plain_rows.split(io.BytesIO(xml), plain_rows.SHEET_DATA, pattern, b"</row>"))
    assert b"".join(run for _, run in pieces) == rows.encode()
    assert b"".join(other + run for other, run in pieces) == xml


#: Cells that begin like plain ones and are none.
NEARLY_PLAIN = {
    "empty with a fill": '<c r="B{0}" s="1" t="n" />',
    "text with outer spaces": '<c r="B{0}" t="inlineStr"><is><t xml:space="preserve"> a</t></is>'
    "</c>",
    "formula without a value": '<c r="B{0}"><f>A{0}*2</f><v /></c>',
    "formula with an empty value": '<c r="B{0}"><f>A{0}*2</f><v></v></c>',
    "formula alone": '<c r="B{0}"><f>A{0}*2</f></c>',
    "array formula alone": '<c r="B{0}" s="0"><f t="array" ref="B{0}">1 &lt; 2</f></c>',
    "number with a space": '<c r="B{0}" s="0"><v>1.5 </v></c>',
    "text with a numbered entity": '<c r="B{0}" t="str"><v>a &amp; b &#65;</v></c>',
    "blank shared text": '<c r="B{0}" t="s"><v>2</v></c>',
    "rich text": '<c r="B{0}" t="inlineStr"><is><r><t>a</t></r></is></c>',
}
nearly_plain = pytest.mark.parametrize("cell", NEARLY_PLAIN.values(), ids=NEARLY_PLAIN.keys())


def rows_with(cell: str, attributes: str = "") -> list[str]:
    """Return a header and five rows; the third of them also holds ``cell``."""
    header = "".join(f'<c r="{c}1" t="inlineStr"><is><t>{c}</t></is></c>' for c in "ABC")
    a, c = '<c r="A{0}"><v>{0}</v></c>', '<c r="C{0}" t="inlineStr"><is><t>x</t></is></c>'
    return [f'<row r="1">{header}</row>'] + [
        f'<row r="{n}"{attributes}>{(a + (cell if n == 4 else "") + c).format(n)}</row>'
        for n in range(2, 7)
    ]


@nearly_plain
@pytest.mark.parametrize("attributes", ["", ' spans="1:3" ht="15.75"', ' ht="15" '])
def test_a_run_ends_before_the_row_that_is_not_plain(cell: str, attributes: str) -> None:
    rows = rows_with(cell, attributes)
    xml = f'<worksheet xmlns="{NS}"><sheetData>{"".join(rows)}</sheetData></worksheet>'.encode()
    pattern = plain_rows.rows(len(SHARED), [2, 3])
    pieces = list(plain_rows.split(io.BytesIO(xml), plain_rows.SHEET_DATA, pattern, b"</row>"))
    assert b"".join(other + run for other, run in pieces) == xml
    whole = {"".join(rows[start:end]) for start in range(6) for end in range(start, 7)}
    assert {run.decode() for _, run in pieces} <= whole
    assert rows[3] in b"".join(other for other, _ in pieces).decode()


@nearly_plain
def test_a_nearly_plain_cell_is_read_as_openpyxl_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    path = write(tmp_path / "s.xlsx", "".join(rows_with(cell)))
    ours = seen(path)
    for size in (1, 3, 40):
        with monkeypatch.context() as patch:
            patch.setattr(plain_rows, "CHUNK", size)
            patch.setattr(safe_xml, "SLICE", size)
            assert seen(path) == ours
    if "<f>" in cell or "<f " in cell:
        assert "B4" in ours
        assert "formula" in ours
        return
    book = openpyxl.load_workbook(path, data_only=True)
    theirs = list(book.worksheets[0].iter_rows(min_row=2, values_only=True))
    header = ours[1]
    values = [tuple(value for _, value in cells) for _, cells in ours[0]]
    kept = ["ABC".index(name) for name in header]
    assert values == [tuple(row[column] for column in kept) for row in theirs]


def test_nothing_but_an_atomic_group_is_repeated_possessively() -> None:
    """What a body of another kind does when it fails half way differs from Python to Python."""
    patterns = [each for each in vars(plain_rows).values() if isinstance(each, re.Pattern)]
    patterns += [rows for blank in ([], [2, 3]) if (rows := plain_rows.rows(1234, blank))]
    bodies = [
        body for each in patterns for body in _repeated_possessively(_parser.parse(each.pattern))
    ]
    assert _constants.ATOMIC_GROUP in bodies
    assert set(bodies) <= {
        _constants.ATOMIC_GROUP,
        _constants.IN,
        _constants.LITERAL,
        _constants.NOT_LITERAL,
    }


def _repeated_possessively(tree: Any) -> Iterator[Any]:
    """Yield the operation that each possessive repeat repeats, None for several in a row."""
    if isinstance(tree, tuple) and tree[0] is _constants.POSSESSIVE_REPEAT:
        body = tree[1][2]
        yield body[0][0] if len(body) == 1 else None
    if isinstance(tree, (tuple, list, _parser.SubPattern)):
        for part in tree:
            yield from _repeated_possessively(part)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.sampled_from(["", "0", "00"]))
@example(strings=10, index=9, zeros="")
@example(strings=10, index=10, zeros="")
@example(strings=1000, index=999, zeros="")
@example(strings=0, index=0, zeros="")
@example(strings=193_832, index=193_831, zeros="")
def test_a_plain_row_names_no_shared_string_that_is_not_there(
    strings: int, index: int, zeros: str
) -> None:
    pattern = plain_rows.rows(strings, [])
    assert pattern is not None
    row = f'<row r="7"><c r="A7" t="s"><v>{zeros}{index}</v></c></row>'.encode()
    assert bool(pattern.fullmatch(row)) == (index < strings and not zeros)


def test_shared_strings_are_like_a_list_of_them() -> None:
    texts = [f"text {n}" for n in range(1000)] + ["", " ", "a & b", "<x>", "語", "two\nlines"]
    escaped = [t.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for t in texts]
    xml = "".join(
        f"<si><t>{text}</t></si>"
        if n % 3
        else f"<si><r><t>{text[:2]}</t></r><r><t>{text[2:]}</t></r></si>"
        for n, text in enumerate(escaped[:1000])
    )
    xml += "".join(f'<si><t xml:space="preserve">{text}</t></si>' for text in escaped[1000:])
    strings = SharedStrings(io.BytesIO(f'<sst xmlns="{NS}">{xml}</sst>'.encode()))
    assert [strings[n] for n in range(len(strings))] == texts
    assert strings.blank == [1000, 1001]
    with pytest.raises(IndexError):
        strings[len(texts)]


@pytest.mark.parametrize(("ending", "unpacked"), [("", 0), ("<row r='5001'/>", 1)])
def test_the_end_of_a_plain_sheet_is_looked_at_without_unpacking_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, unpacked: int
) -> None:
    cell = '<c r="A{0}" t="inlineStr"><is><t>a text of forty characters in row {0}</t></is></c>'
    rows = "".join(f'<row r="{n}">{cell.format(n)}</row>' for n in range(1, 5001))
    path = write(tmp_path / "s.xlsx", rows + ending)
    recipe = parse("name: r\nprompt: p\noutput: {type: object, properties: {a: {}}}", "r.yaml")
    with open_sheet(path, recipe=recipe) as sheet:
        members: list[str] = []
        unpack = zipfile.ZipFile.open

        def seen_open(package: zipfile.ZipFile, name: str, *arguments: Any) -> Any:
            members.append(name)
            return unpack(package, name, *arguments)

        monkeypatch.setattr(zipfile.ZipFile, "open", seen_open)
        selection.select(sheet, selection.Choice(), recipe)
        assert members == ["xl/sheet.xml"] * unpacked
