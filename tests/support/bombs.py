"""Small files that stand for large ones: one for each part of a workbook that a reader may parse.

Run as a program, it reads the files it is given, each in a child of its own, and prints one line of
JSON for each: by how many bytes the child's memory grew at most, the sentence it was refused with,
null if it was read, and the bytes that its largest own child took, 0 if it had none.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"
SHEET, STRINGS, STYLES = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"
BOOK, BOOK_RELATIONS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
CONTENTS = "[Content_Types].xml"

#: Bytes that a part of a bomb unpacks to. It may be 32 MiB, but a test should take seconds.
SIZE = 3 << 20

ROWS = (
    '<row r="1"><c r="A1" t="inlineStr"><is><t>H</t></is></c></row>'
    '<row r="2"><c r="A2" t="inlineStr"><is><t>x</t></is></c></row>'
)
GOOD = {
    CONTENTS: (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        f'<Override PartName="/{BOOK}" ContentType="{CONTENT}.sheet.main+xml"/>'
        f'<Override PartName="/{STRINGS}" ContentType="{CONTENT}.sharedStrings+xml"/>%s</Types>'
    ),
    BOOK: (
        f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets>%s</workbook>'
    ),
    BOOK_RELATIONS: (
        f'<Relationships xmlns="{RELATIONS}">'
        f'<Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
        "%s</Relationships>"
    ),
    STYLES: f'<styleSheet xmlns="{MAIN}">%s</styleSheet>',
    STRINGS: f'<sst xmlns="{MAIN}">%s</sst>',
    SHEET: f'<worksheet xmlns="{MAIN}">%s</worksheet>',
}


def write(path: Path, part: str = "", pieces: Iterator[str] | tuple[str, ...] = ()) -> Path:
    """Write a workbook of one row, with ``pieces`` in the place that ``part`` has for them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name in dict.fromkeys([*GOOD, part or SHEET]):
            usual = f"<sheetData>{ROWS}</sheetData>" if name == SHEET else ""
            before, _, after = GOOD.get(name, f'<x xmlns="{MAIN}">%s</x>').partition("%s")
            with package.open(name, "w") as stream:
                stream.write(before.encode())
                for piece in pieces if name == part else (usual,):
                    stream.write(piece.encode())
                stream.write(after.encode())
    return path


def repeated(piece: str, around: str = "%s", size: int = SIZE) -> Iterator[str]:
    before, _, after = around.partition("%s")
    yield before
    many = piece * max(1, (256 << 10) // len(piece))
    for _ in range(size // len(many)):
        yield many
    yield after


def numbered(piece: str, around: str = "%s") -> Iterator[str]:
    """Pieces that each hold another number."""
    before, _, after = around.partition("%s")
    yield before
    number = written = 0
    while written < SIZE:
        many = "".join(piece.replace("#", f"{each}") for each in range(number, number + 10_000))
        yield many
        number += 10_000
        written += len(many)
    yield after


def nested(tag: str, around: str = "%s") -> Iterator[str]:
    before, _, after = around.partition("%s")
    count = SIZE // (2 * len(tag) + 5)
    yield before + f"<{tag}>" * count + f"</{tag}>" * count + after


_ROWS = f"<sheetData>{ROWS}</sheetData>"
_MORE_ROWS = f"<sheetData>{ROWS}%s</sheetData>"
_ROW = f'<sheetData>{ROWS}<row r="3">%s</row></sheetData>'
_CELL = _ROW.replace("%s", '<c r="A3">%s</c>')
_FORMULA = _ROW.replace("%s", '<c r="A3"><f>%s</f><v>1</v></c>')
_NAMES = "<definedNames>%s</definedNames>"
_LONG = "x" * 30_000
_RICH_ROW = '<row><c t="inlineStr"><is><r><t>x</t></r></is></c></row>'
_COLUMN = '<col min="1" max="16384" width="9"/>'
_MERGED = f"{_ROWS}<mergeCells>%s</mergeCells>"
_OTHER_PARTS = (
    "docProps/core.xml",
    "docProps/custom.xml",
    "docProps/app.xml",
    "xl/theme/theme1.xml",
    "xl/comments1.xml",
    "xl/calcChain.xml",
    "xl/drawings/drawing1.xml",
    "xl/charts/chart1.xml",
    "xl/worksheets/sheet2.xml",
    "xl/worksheets/_rels/sheet1.xml.rels",
    "xl/externalLinks/externalLink1.xml",
    "xl/metadata.xml",
)

Pieces = Callable[[], Iterator[str]]

#: Part → name of the bomb → what stands in the part.
_BY_PART: dict[str, dict[str, Pieces]] = {
    STYLES: {
        "cell formats": lambda: repeated("<xf/>", "<cellXfs>%s</cellXfs>"),
        "style formats": lambda: repeated("<xf/>", "<cellStyleXfs>%s</cellStyleXfs>"),
        "fonts": lambda: repeated("<font><b/><sz/></font>", "<fonts>%s</fonts>"),
        "number formats": lambda: numbered(
            '<numFmt numFmtId="1#" formatCode="0.0#"/>', "<numFmts>%s</numFmts>"
        ),
    },
    BOOK: {
        "defined names": lambda: numbered('<definedName name="n#">S!A1</definedName>', _NAMES),
        "one defined name": lambda: repeated("x", "<definedName>%s</definedName>"),
        "sheets": lambda: repeated('<sheet name="S" r:id="r1"/>', "<sheets>%s</sheets>"),
        "nested elements": lambda: nested("a"),
        "different elements": lambda: numbered("<a#/>"),
        "different attributes": lambda: numbered('<a b#=""/>'),
        "different prefixes": lambda: numbered('<a xmlns:p#="u"/>'),
        "one tag's attributes": lambda: numbered(' b#=""', "<a%s/>"),
        "one attribute": lambda: repeated("x", '<a b="%s"/>'),
        "one comment": lambda: repeated("x", "<!--%s-->"),
    },
    CONTENTS: {
        "contents": lambda: numbered('<Override PartName="/p#" ContentType="x"/>'),
        "content defaults": lambda: numbered('<Default Extension="e#" ContentType="x"/>'),
    },
    BOOK_RELATIONS: {
        "relations": lambda: numbered('<Relationship Id="i#" Type="t" Target="t#"/>'),
    },
    STRINGS: {
        "empty strings": lambda: repeated("<si/>"),
        "blank strings": lambda: repeated("<si><t></t></si>"),
        "strings": lambda: numbered("<si><t>#</t></si>"),
        "long strings": lambda: repeated(f"<si><t>{_LONG}</t></si>", size=SIZE * 6),
        "one string": lambda: repeated("x", "<si><t>%s</t></si>"),
        "one string's runs": lambda: repeated("<r><t>x</t></r>", "<si>%s</si>"),
        "nested strings": lambda: nested("r", "<si>%s</si>"),
        "different strings' elements": lambda: numbered("<a#/>", "<si>%s</si>"),
    },
    SHEET: {
        "columns": lambda: repeated(_COLUMN, f"<cols>%s</cols>{_ROWS}"),
        "above the rows": lambda: repeated("<a/>", f"%s{_ROWS}"),
        "nested above the rows": lambda: nested("a", f"%s{_ROWS}"),
        "merged cells": lambda: repeated('<mergeCell ref="A1:B2"/>', _MERGED),
        "behind the rows": lambda: repeated("<a/>", f"{_ROWS}%s"),
        "nested behind the rows": lambda: nested("a", f"{_ROWS}%s"),
        "different elements behind the rows": lambda: numbered("<a#/>", f"{_ROWS}%s"),
        "elements in a row": lambda: repeated("<a/>", _ROW),
        "elements in a cell": lambda: repeated("<v/>", _CELL),
        "text in a formula": lambda: repeated("x", _FORMULA, SIZE * 2),
        "nested in a row": lambda: nested("a", _ROW),
        "long cells": lambda: repeated(
            f'<c t="inlineStr"><is><t>{_LONG}</t></is></c>', _ROW, SIZE * 2
        ),
        "empty rows": lambda: repeated("<row/>", _MORE_ROWS),
        "rows with a height": lambda: repeated('<row ht="9"><c/></row>', _MORE_ROWS, SIZE // 2),
        "odd rows": lambda: repeated(_RICH_ROW, _MORE_ROWS, SIZE // 2),
        "text between rows": lambda: repeated("x", _MORE_ROWS, SIZE * 2),
    },
    **{part: {part: lambda: repeated("<a/>")} for part in _OTHER_PARTS},
}

#: Name → the part, and what stands in it.
BOMBS: dict[str, tuple[str, Pieces]] = {
    name: (part, pieces) for part, by_name in _BY_PART.items() for name, pieces in by_name.items()
}


def measured(paths: list[Path]) -> list[tuple[int, str | None, int]]:
    """Read the files in a process of their own, after a good one; see the module."""
    good = write(paths[0].with_name("good.xlsx"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bombs", str(good), *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    grown_good, *grown = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert grown_good[1] is None
    assert len(grown) == len(paths)
    return grown


def main(paths: list[str]) -> None:
    from rowfleet.errors import InputError
    from submitter.sheets.opening import open_sheet

    def read(path: str) -> str | None:
        try:
            with open_sheet(Path(path), name=Path(path).name) as sheet:
                for _ in sheet.rows():
                    pass
        except InputError as error:
            return str(error)
        return None

    read(paths[0])
    for path in paths:
        into, out = os.pipe()
        if not (child := os.fork()):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            said = read(path)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
            os.write(out, json.dumps([grown, said, children]).encode())
            os._exit(0)
        os.close(out)
        with os.fdopen(into) as answer:
            print(answer.read(), flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
