"""The first walk through a worksheet: what stands where, so that the answers find their place."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, cast

from openpyxl.utils import column_index_from_string

from rowfleet.errors import InputError
from submitter.excel import MAX_COLUMNS, MAX_ROWS
from submitter.results.write_back import ranges, xml_bytes
from submitter.results.write_back.ranges import Range
from submitter.results.write_back.xml_bytes import Walk, local
from submitter.sheets.package import MAX_WORKSHEET_BYTES, opened_raw
from submitter.sheets.plain import plain_rows

#: Characters of the header's texts, and of the tags that describe columns (4 MiB in all).
MAX_KEPT_CHARS = 4 << 20
#: Elements `col` that are kept; a worksheet has at most one for each column.
MAX_COLS = MAX_COLUMNS

#: Rows in the plain form, whatever shared strings there are: those were checked at the submission.
PLAIN_ROWS = plain_rows.rows(10**9, ())

_LETTERS = re.compile(rb"[A-Z]+")
_PLAIN_FORMULA = re.compile(rb'<c r="([A-Z]+)[0-9]+"[^>]*><f')
_PLAIN_STYLE = re.compile(rb'<c r="([A-Z]+)[0-9]+" s="([0-9]+)"')
_START = b'<c r="'


@lru_cache(MAX_COLUMNS)
def column_of(letters: bytes) -> int:
    """Return the index of the column with these letters, -1 if there is none."""
    try:
        index = column_index_from_string(letters.decode("ascii")) - 1
    except (ValueError, UnicodeDecodeError):
        return -1
    return index if index < MAX_COLUMNS else -1


@dataclass(frozen=True, slots=True)
class Place:
    """A raw tag and where it stands in what is not plain rows."""

    start: int
    tag: bytes
    end: int = 0  #: Behind the element.


@dataclass(slots=True)
class HeaderCell:
    """A cell of the header's row: its style, its type, and its value as the XML has it."""

    style: int = 0
    kind: str | None = None
    text: str = ""


@dataclass(slots=True)
class Survey:
    """What the walk found. Rows and columns are indexes from 0.

    Places are counted in the XML without the runs of plain rows, as `plain_rows.split` gives it.
    """

    prefix: bytes = b""
    #: The last column that holds a value or a formula in the header's row or below it, or
    #: that is merged with others beside the answers.
    edge: int = -1
    header: dict[int, HeaderCell] = field(default_factory=dict)
    #: Column → style of the cells in the first row below the header.
    first_styles: dict[int, int] = field(default_factory=dict)
    last_row: int = 0  #: The last one that gets answers.
    #: Columns with formulas below the header.
    formulas: set[int] = field(default_factory=set)
    dimension: Place | None = None
    filter: Place | None = None
    rows: Place | None = None  #: The start tag of `sheetData`.
    cols: list[tuple[int, int, Place]] = field(default_factory=list)  #: First and last column.
    empty_cols: Place | None = None  #: A `cols` that holds none.


@contextmanager
def opened_xml(
    package: zipfile.ZipFile, member: str, name: str
) -> Iterator[tuple[IO[bytes], str | None]]:
    """Open a part for reading in UTF-8, and say the codec to write it with again."""
    with opened_raw(package, member, name, MAX_WORKSHEET_BYTES) as stream:
        codec = xml_bytes.codec_of(stream.read(4))
    with opened_raw(package, member, name, MAX_WORKSHEET_BYTES) as stream:
        yield (cast("IO[bytes]", xml_bytes.Decoded(stream, codec)) if codec else stream), codec


def survey(
    package: zipfile.ZipFile, member: str, name: str, header_row: int, last_row: int
) -> Survey:
    """Walk through a worksheet part whose answers go from ``header_row`` to ``last_row``.

    Raises InputError for XML that is malformed or beyond the bounds.
    """
    surveyor = _Surveyor(f"{name}: the part {member[:100]!r}", header_row, last_row)
    with opened_xml(package, member, name) as (stream, _):
        for other, run in plain_rows.split(stream, plain_rows.SHEET_DATA, PLAIN_ROWS, b"</row>"):
            surveyor.other(other)
            if run:
                surveyor.run(run)
        surveyor.close()
    return surveyor.found


class _Surveyor:
    def __init__(self, where: str, header_row: int, last_row: int) -> None:
        self.found = Survey(last_row=last_row)
        self._where = where
        self._header_row = header_row
        self._last_row = last_row
        self._walk = Walk(where, self._start, self._end, self._text)
        self._path: list[str] = []
        self._starts: list[int] = []
        self._row = -1
        self._column = -1
        self._cell: HeaderCell | None = None
        self._pieces: list[str] = []  #: Of its text.
        self._first_row: int | None = None
        self._kept = 0

    def other(self, xml: bytes) -> None:
        """Walk through XML that is not plain rows."""
        self._walk.feed(xml)
        self._walk.taken(self._walk.parsed)

    def close(self) -> None:
        """Say that the part ends here."""
        self._walk.close()
        if self.found.rows is None:
            raise InputError(f"{self._where} holds no table of rows")

    def run(self, run: bytes) -> None:
        """Walk through plain rows."""
        edge = self.found.edge
        for row in run.split(plain_rows.ROW_START)[1:]:
            number = int(row[: row.index(b'"')]) - 1
            self._row = number
            if number < self._header_row:
                continue
            if number == self._header_row:
                self._plain_header(row)
            elif self._first_row is None:
                self._first_row = number
                styles = _PLAIN_STYLE.findall(row)
                self.found.first_styles = {column_of(c): int(style) for c, style in styles}
            end = len(row)
            while (at := row.rfind(_START, 0, end)) >= 0:
                letters = _LETTERS.match(row, at + len(_START))
                assert letters is not None  # the pattern of the row has matched
                column = column_of(letters[0])
                if column <= edge:
                    break
                if b"</c>" in row[at:end]:
                    edge = column
                    break
                end = at
        self.found.edge = edge
        if self._row > self._header_row and b"<f" in run:
            self.found.formulas.update(map(column_of, set(_PLAIN_FORMULA.findall(run))))

    def _plain_header(self, row: bytes) -> None:
        for letters, attributes, formula, raw in plain_rows.ANY_CELL.findall(row):
            given = dict(re.findall(rb' (s|t)="([^"]*)"', attributes))
            if raw or formula:
                self.found.header[column_of(letters)] = HeaderCell(
                    int(given.get(b"s", b"0")),
                    given.get(b"t", b"n").decode(),
                    plain_rows.text(raw),
                )

    def _start(self, tag: str, attributes: dict[str, str], at: int) -> None:
        name = local(tag)
        depth = len(self._path)
        self._path.append(name)
        self._starts.append(at)
        found, walk = self.found, self._walk
        if depth == 1:
            if name == "dimension":
                found.dimension = Place(at, walk.tag(at))
            elif name == "autoFilter":
                found.filter = Place(at, walk.tag(at))
            elif name == "cols":
                found.empty_cols = Place(at, walk.tag(at))
            elif name == "sheetData":
                found.rows = Place(at, walk.tag(at))
                found.prefix = xml_bytes.prefix_of(found.rows.tag)
        elif depth == 2 and name == "col" and self._path[1] == "cols":
            first, last = (xml_bytes.number(attributes.get(name, "")) for name in ("min", "max"))
            if first is not None and last is not None and len(found.cols) < MAX_COLS:
                place = Place(at, walk.tag(at))
                self._keep(len(place.tag))
                found.cols.append((first - 1, last - 1, place))
        elif name == "mergeCell":
            self._reach(ranges.parse(attributes.get("ref", "")))
        elif self._path[1:2] == ["sheetData"]:
            self._start_in_rows(name, depth, attributes)

    def _start_in_rows(self, name: str, depth: int, attributes: dict[str, str]) -> None:
        if depth == 2 and name == "row":
            self._row, self._column = row_number(attributes, self._row, self._where), -1
        elif depth == 3 and name == "c":
            self._column = cell_column(attributes, self._column, self._where)
            self._cell = None
            style_id = xml_bytes.number(attributes.get("s", "0")) or 0
            if self._row == self._header_row:
                self._cell = HeaderCell(style_id, attributes.get("t"))
            elif self._row > self._header_row:
                if self._first_row is None:
                    self._first_row = self._row
                if self._first_row == self._row:
                    self.found.first_styles[self._column] = style_id
        elif depth == 4 and name in ("v", "f", "is") and self._row >= self._header_row:
            self.found.edge = max(self.found.edge, self._column)
            if self._cell is not None:
                self.found.header[self._column] = self._cell
            elif name == "f":
                self.found.formulas.add(self._column)

    def _text(self, text: str) -> None:
        if self._cell is not None and self._path[4:] in (["v"], ["is", "t"], ["is", "r", "t"]):
            self._keep(len(text))
            self._pieces.append(text)

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > MAX_KEPT_CHARS:
            raise InputError(f"{self._where} says more of its columns than a spreadsheet can")

    def _end(self, _: str, at: int) -> None:
        name, start = self._path.pop(), self._starts.pop()
        depth = len(self._path)
        if depth == 2 and name == "col" and self.found.cols:
            first, last, place = self.found.cols[-1]
            if place.start == start:
                self.found.cols[-1] = (
                    first,
                    last,
                    Place(start, place.tag, self._walk.end_of(start, place.tag, at)),
                )
        elif depth == 1 and name == "cols" and self.found.empty_cols is not None:
            place = self.found.empty_cols
            end = self._walk.end_of(start, place.tag, at)
            self.found.empty_cols = None if self.found.cols else Place(start, place.tag, end)
        elif depth == 3 and name == "c" and self._cell is not None:
            self._cell.text = "".join(self._pieces)
            self._cell = None
            self._pieces.clear()

    def _reach(self, merged: Range | None) -> None:
        # Of merged cells only the first shows a value. Those below the answers are in no one's way.
        if merged and merged.bottom >= self._header_row and merged.top <= self._last_row:
            self.found.edge = max(self.found.edge, merged.right)


def row_number(attributes: dict[str, str], previous: int, where: str) -> int:
    """Return the index of a row that follows the ``previous`` one."""
    text = attributes.get("r", "")
    given = xml_bytes.number(text)
    number = previous + 1 if given is None else given - 1
    if not previous < number < MAX_ROWS:
        raise InputError(f"{where} has the row {text[:20]!r} out of order")
    return number


def cell_column(attributes: dict[str, str], previous: int, where: str) -> int:
    """Return the index of a cell's column; the cell follows the one in ``previous``."""
    reference = attributes.get("r")
    column = previous + 1
    if reference is not None:
        letters = re.match(r"[A-Za-z]{1,3}(?=[0-9])", reference)
        column = column_of(letters[0].upper().encode()) if letters else -1
    if not previous < column < MAX_COLUMNS:
        raise InputError(f"{where} has the cell {(reference or '')[:20]!r} out of order")
    return column
