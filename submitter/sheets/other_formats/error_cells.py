"""Error cells such as `#REF!` of the other formats, which python-calamine gives as empty ones.

Each format has them in records or elements of their own, so a short walk finds them.
https://github.com/dimastbk/python-calamine/issues/105
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rowfleet.cells import CellError
from submitter.excel import MAX_COLUMNS, MAX_ROWS
from submitter.sheets import safe_xml
from submitter.sheets.other_formats import xls_records
from submitter.sheets.package import CHUNK, Members, open_package
from submitter.sheets.workbook import relations_of

#: Row → column → error, counted from 0.
Errors = dict[int, dict[int, CellError]]

#: Errors by the number that .xls ([MS-XLS] 2.5.10) and .xlsb ([MS-XLSB] 2.5.97.2) give them.
_CODES = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}


def find(path: str, sheet: int) -> Errors:
    """Return the error cells of the ``sheet``, counted from 0, of the workbook at ``path``.

    The suffix says the format. Raises whatever a damaged file makes it raise.
    """
    found: Errors = defaultdict(dict)
    walk = {".xls": _xls, ".xlsb": _xlsb, ".ods": _ods}[Path(path).suffix]
    for row, column, code in walk(path, sheet):
        if row >= MAX_ROWS or column >= MAX_COLUMNS:
            raise ValueError("a cell beyond what a worksheet holds")
        found[row][column] = CellError(code)
    return found


# .xls

_FORMULA, _BOOLERR = 0x0006, 0x0205


def _xls(path: str, sheet: int) -> Iterator[tuple[int, int, str]]:
    records = xls_records.read(path)
    for kind, at in xls_records.of_sheet(records, sheet):
        if kind == _BOOLERR and records[at + 7]:
            code = records[at + 6]
        elif kind == _FORMULA and _is_error(records[at + 6 : at + 14]):
            code = records[at + 8]
        else:
            continue
        row, column = struct.unpack_from("<HH", records, at)
        yield row, column, _CODES.get(code, "#N/A")


def _is_error(result: bytes) -> bool:
    """Return whether a formula's result is an error; it is a number, or says what else it is."""
    return result[:1] == b"\2" and result[6:] == b"\xff\xff"


# .xlsb: records of a type and a size, of one to four bytes. [MS-XLSB] 2.1.4

_ROW, _ERROR, _FORMULA_ERROR, _SHEET = 0, 3, 11, 156


def _xlsb(path: str, sheet: int) -> Iterator[tuple[int, int, str]]:
    with open(path, "rb") as file, open_package(file, "") as package:
        members = Members(package.namelist())
        relations = relations_of(package, "xl/_rels/workbook.bin.rels", "", "xl", members)
        book = package.read(members.find("xl/workbook.bin") or "")
        ids = [_text(book, at + 8) for kind, at in _xlsb_records(book) if kind == _SHEET]
        part = package.read(members.find(relations[ids[sheet]][0]) or "")
    row = 0
    for kind, at in _xlsb_records(part):
        if kind == _ROW:
            (row,) = struct.unpack_from("<L", part, at)
        elif kind in (_ERROR, _FORMULA_ERROR):
            (column,) = struct.unpack_from("<L", part, at)
            yield row, column, _CODES.get(part[at + 8], "#N/A")


def _xlsb_records(records: bytes) -> Iterator[tuple[int, int]]:
    """Yield (type, place) of each record."""
    at, end = 0, len(records)
    while at < end:
        kind = records[at]
        at += 1
        if kind & 0x80:
            kind = (kind & 0x7F) | (records[at] & 0x7F) << 7
            at += 1
        size = shift = 0
        while True:
            part = records[at]
            at += 1
            size |= (part & 0x7F) << shift
            shift += 7
            if part < 0x80 or shift == 28:
                break
        yield kind, at
        at += size


def _text(records: bytes, at: int) -> str:
    (size,) = struct.unpack_from("<L", records, at)
    return records[at + 4 : at + 4 + 2 * size].decode("utf-16-le")


# .ods: LibreOffice marks an error in a cell of text. OpenDocument 1.3 part 3, 9.1

_TABLE_NS = "urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_KIND = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"
_PARAGRAPH = "urn:oasis:names:tc:opendocument:xmlns:text:1.0}p"
_CELLS = (f"{_TABLE_NS}table-cell", f"{_TABLE_NS}covered-table-cell")


class _OdsWalk:
    """Handlers that note the error cells of one table."""

    def __init__(self, sheet: int) -> None:
        self.found: list[tuple[int, int, str]] = []
        self._sheet = sheet
        self._tables = -1
        self._path = [""]
        self._row = self._rows = self._column = self._columns = 0
        self._text: str | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == f"{_TABLE_NS}table" and self._path[-1].endswith("}spreadsheet"):
            self._tables += 1
        elif self._tables != self._sheet:
            pass
        elif tag == f"{_TABLE_NS}table-row":
            self._rows = int(attributes.get(f"{_TABLE_NS}number-rows-repeated", 1))
            self._column = 0
        elif tag in _CELLS:
            self._columns = int(attributes.get(f"{_TABLE_NS}number-columns-repeated", 1))
            self._text = "" if attributes.get(_KIND) == "error" else None
        self._path.append(tag)

    def characters(self, text: str) -> None:
        if self._text is not None and self._path[-1] == _PARAGRAPH:
            self._text += text

    def end(self, tag: str) -> None:
        self._path.pop()
        if self._tables != self._sheet:
            return
        if tag == f"{_TABLE_NS}table-row":
            self._row += self._rows
        elif tag in _CELLS:
            if self._text is not None:
                self.found += (
                    (row, column, self._text)
                    for row in range(self._row, self._row + self._rows)
                    for column in range(self._column, self._column + self._columns)
                )
            self._text = None
            self._column += self._columns

    def depth(self, *_: object) -> int:
        return len(self._path)


def _ods(path: str, sheet: int) -> Iterator[tuple[int, int, str]]:
    walk = _OdsWalk(sheet)
    parser = safe_xml.Parser("content.xml", walk.start, walk.characters, walk.end)
    with (
        open(path, "rb") as file,
        open_package(file, "") as package,
        package.open("content.xml") as stream,
    ):
        while chunk := stream.read(CHUNK):
            parser.feed(chunk, walk.depth)
        parser.close()
    yield from walk.found
