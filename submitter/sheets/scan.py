"""One pass over a worksheet's XML, which finds all that could go wrong later."""

from __future__ import annotations

import re
import zipfile
from operator import lt

from openpyxl.utils import range_boundaries

from rowfleet.errors import InputError
from submitter.excel import MAX_CELL_CHARS, MAX_COLUMNS, MAX_ROWS, letter
from submitter.sheets import safe_xml
from submitter.sheets.checked_cells import CheckedCells, Scan
from submitter.sheets.package import MAX_WORKSHEET_BYTES, MEND, opened
from submitter.sheets.plain import plain_rows
from submitter.sheets.plain.last_runs import LastRuns
from submitter.sheets.shared_strings import SharedStrings

#: XML elements below the rows: merged ranges, conditional formats and the like.
MAX_OTHER_ELEMENTS = 1_500_000

#: A column's width in characters: Excel's limit.
MAX_WIDTH = 255

#: XML elements and bytes (4 MiB) in one row, or above the rows: 16,384 cells with some 6 elements.
MAX_ROW_ELEMENTS, MAX_ROW_BYTES = 100_000, 4 << 20

CELL, FORMULA, ROW, COLUMN, SHEET_DATA, VALUE, INLINE, RUN, TEXT, MERGED = (
    safe_xml.MAIN + tag
    for tag in ("c", "f", "row", "col", "sheetData", "v", "is", "r", "t", "mergeCell")
)


def scan(
    package: zipfile.ZipFile,
    member: str,
    strings: SharedStrings,
    *,
    name: str,
    where: str,
    below: int = -1,
    rows: int = MAX_ROWS,
) -> Scan:
    """Walk a worksheet part and return what it holds; styles and the like for rows ``below`` only.

    The walk may end early, once more than ``rows`` rows hold a value. Raises InputError, beginning
    with ``where``, for a cell, row or reference that is malformed, and beginning with the file's
    ``name`` if the part is not whole or not plain well-formed XML.
    """
    walk = _Walk(strings, where, below)
    parser = safe_xml.Parser(f"{name}: the part {member[:100]!r}", walk.start, walk.characters)
    walk.ends = parser.ends
    plain, last_runs = strings.plain_rows(), LastRuns()
    with opened(package, member, name, MAX_WORKSHEET_BYTES) as stream:
        for other, run in plain_rows.split(stream, plain_rows.SHEET_DATA, plain, b"</row>"):
            parser.feed(other, walk.fed)
            last_runs.take(other, run)
            if run:
                walk.run(run)
            if walk.filled > rows:
                break
        else:
            parser.close()
        walk.end_cell()
    walk.found.last_runs = last_runs.up_to(walk.row)
    return walk.found


#: Elements within each other, from the worksheet to the text of a run of inline text.
_LEVELS = 7

#: What texts hold, and what all else differs in from row to row, is left out of a row's shape.
_CONTENT = re.compile(rb"(<[tfv](?: [^<>]*+)?>)[^<]++")

_DIGITS = b"0123456789.-"

#: Bytes of the shapes remembered; a sheet has a few of some hundred bytes.
MAX_SHAPE_BYTES = 4 << 20

_ROW_NUMBER = re.compile(plain_rows.ROW_START + rb"([0-9]+)")

_HIDDEN_ROW = re.compile(plain_rows.ROW_START + rb'([0-9]+)"(?=[^>]* hidden="(?:1|true)")')

_ATTRIBUTE = re.compile(r' (r|s|t)="([^"]*)"')


def _shapes(run: bytes) -> list[bytes]:
    return run.translate(None, _DIGITS).split(plain_rows.ROW_START)[1:]


class _Walk(CheckedCells):
    """Handlers for expat, and for the runs of plain rows beside it."""

    __slots__ = (
        "bytes",
        "elements",
        "ended",
        "ends",
        "in_text",
        "last_filled",
        "past",
        "path",
        "shape_bytes",
        "shapes",
        "started",
        "table",
        "text_depth",
        "widened",
    )

    def __init__(self, strings: SharedStrings, where: str, below: int) -> None:
        super().__init__(strings, where, below)
        #: Elements in the row at hand, or above or below the rows.
        self.elements = 0
        #: Elements that have started and ended in what expat got.
        self.started = self.ended = 0
        #: Tags that have ended in the slice that expat has now; the parser clears it.
        self.ends: list[str] = []
        #: The last tag that started on each level, so the open ones above the current one.
        self.path = [""] * _LEVELS
        #: Whether expat is within a text that counts, and the elements around that text.
        self.in_text = False
        self.text_depth = 0
        #: Bytes that expat got since the last row started.
        self.bytes = 0
        #: The last row that holds a value, from 1, once a merged range is seen.
        self.last_filled = -1
        #: Columns that a width was said for.
        self.widened = 0
        #: Whether the rows have begun, and whether they are over.
        self.table = self.past = False
        #: Shape of a plain row below the header → whether such a row holds a value.
        self.shapes: dict[bytes, bool] = {}
        self.shape_bytes = 0

    def fed(self, size: int, ended: list[str]) -> int:
        """Take note of a slice that expat got, and return how many elements are open."""
        self.ended += len(ended)
        self.bytes += size
        self.past = self.past or SHEET_DATA in ended
        if self.past and self.elements > MAX_OTHER_ELEMENTS:
            raise InputError(
                f"{self.where}: has more than {MAX_OTHER_ELEMENTS:,} XML elements below its rows"
            )
        if self.bytes > MAX_ROW_BYTES and not self.past:
            raise self.malformed(f"has more than {MAX_ROW_BYTES >> 20} MiB of XML")
        return self.started - self.ended

    def run(self, run: bytes) -> None:
        """Judge a run of plain rows: the first of each shape cell by cell, the others with it.

        Rows of one shape have the same columns, and values in the same of them. So once one was
        found well, there is nothing new to say about the next but its number.
        """
        self.end_cell()
        numbers = list(map(int, _ROW_NUMBER.findall(run)))
        ascending = numbers[0] > self.row + 1 and all(map(lt, numbers, numbers[1:]))
        if not ascending or numbers[-1] > MAX_ROWS:
            for row in run.split(plain_rows.ROW_START)[1:]:
                self._plain_row(row)
            return
        if b' hidden="' in run:
            for number in _HIDDEN_ROW.findall(run):
                self.hide(int(number) - 1)
        shapes = _shapes(run)
        known = list(map(self.shapes.get, shapes))
        if None in known:
            shapes = _shapes(_CONTENT.sub(rb"\1", run))
            known = list(map(self.shapes.get, shapes))
        filled = self.found.filled
        filled.extend(bytes(numbers[-1] - len(filled)))
        first, after = numbers[0] - 1, numbers[-1]
        if all(known) and first > self.below and after - first == len(numbers):
            filled[first:after] = b"\1" * len(numbers)
            self.filled += len(numbers)
        else:
            rows = run.split(plain_rows.ROW_START)[1:]
            for number, shape, row in zip(numbers, shapes, rows, strict=True):
                self._shaped_row(number - 1, shape, row)
        self.row = after - 1

    def _shaped_row(self, number: int, shape: bytes, row: bytes) -> None:
        holds = self.shapes.get(shape)
        if holds is None or number <= self.below:
            self._plain_row(row)
            if number > self.below and self.shape_bytes < MAX_SHAPE_BYTES:
                self.shape_bytes += len(shape) + 100
                self.shapes[shape] = bool(self.found.filled[number])
        elif holds:
            self.found.filled[number] = 1
            self.filled += 1

    def _plain_row(self, row: bytes) -> None:
        """Do for one plain row what the handlers do, event by event."""
        number, _, cells = row.decode().partition('"')
        self._next_row({"r": number})
        for letters, attributes, formula, raw in plain_rows.ANY_CELL.findall(cells.encode()):
            self.elements += 1
            given = f' r="{letters.decode()}{number}"{attributes.decode()}'
            self.start_cell(dict(_ATTRIBUTE.findall(given)))
            self.formula = bool(formula)
            self.text = plain_rows.text(raw)
            self.end_cell()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        depth = self.started - self.ended - len(self.ends)  # how many elements are around this one
        self.started += 1
        self.elements += 1
        if self.elements > MAX_ROW_ELEMENTS and not self.past:
            raise self.malformed(f"has more than {MAX_ROW_ELEMENTS:,} XML elements")
        if self.in_text:
            if depth >= self.text_depth:
                raise self.malformed("has XML elements within a value")
            self.in_text = False
        path = self.path
        if depth < _LEVELS:
            path[depth] = tag
        if tag == VALUE and depth == 4 and path[3] == CELL:
            self._start_value()
        elif tag == CELL:
            if self.open:
                self.end_cell()
            if depth != 3 or path[2] != ROW:
                raise self.malformed("has a cell outside the rows")
            self.start_cell(attributes)
        elif tag == FORMULA:
            self.formula = True
        elif tag == TEXT:
            self.in_text = _is_inline_text(path, depth)
            self.text_depth = depth + 1
        elif tag == ROW:
            self.end_cell()
            self._check_place(path, depth)
            self._next_row(attributes)
        else:
            self._start_other(tag, attributes, depth)

    def _next_row(self, attributes: dict[str, str]) -> None:
        self.start_row(attributes)
        self.elements = self.bytes = 0

    def _start_value(self) -> None:
        if self.valued:
            raise self.malformed("has two values in one cell")
        self.valued = self.in_text = True
        self.text_depth = 5
        self.text = ""

    def _check_place(self, path: list[str], depth: int) -> None:
        """Refuse a row that stands anywhere else, which the reading would pass over."""
        if depth != 2 or path[1] != SHEET_DATA:
            raise InputError(f"{self.where}: has rows outside its table; {MEND}")

    def _start_other(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        if tag == SHEET_DATA:
            if depth != 1 or self.table:
                raise InputError(f"{self.where}: has more than one table of rows; {MEND}")
            self.table = True
        elif tag == INLINE and depth == 4 and self.path[3] == CELL:
            self.text = ""  # a cell that has both `v` and `is` holds the last one
        elif tag == COLUMN:
            self._widths(attributes)
        elif tag == MERGED:
            self._merge(attributes.get("ref", ""))

    def characters(self, text: str) -> None:
        if self.in_text and self.started - self.ended - len(self.ends) >= self.text_depth:
            self.text += text
            if len(self.text) > MAX_CELL_CHARS:
                raise self.malformed(f"has a cell of more than {MAX_CELL_CHARS:,} characters")

    def _merge(self, reference: str) -> None:
        """Remember how far merged cells reach, and a range with filled rows below its first.

        Of such a range only the first row has the value.
        """
        try:
            left, top, right, bottom = range_boundaries(reference)
        except (TypeError, ValueError):
            return
        if left is None or top is None or right is None or bottom is None:
            return  # whole rows or columns, which no program merges
        if self.last_filled < 0:  # the rows are over, so it stays
            self.last_filled = self.found.filled.rfind(1) + 1
        if bottom > self.below and top <= self.last_filled and right <= MAX_COLUMNS:
            self.found.merged_edge = max(self.found.merged_edge, right - 1)
        if top - 1 <= self.below or max(left, right) > MAX_COLUMNS:
            return
        first, _ = self.found.merged.get(left - 1, (MAX_ROWS, ""))
        if top - 1 < first and self.found.filled.find(1, top, bottom) >= 0:
            shown = f"{letter(left - 1)}{top}:{letter(right - 1)}{bottom}"
            self.found.merged[left - 1] = (top - 1, shown)

    def _widths(self, attributes: dict[str, str]) -> None:
        try:
            first, last = int(attributes["min"]) - 1, int(attributes["max"])
            width = float(attributes["width"])
        except (KeyError, ValueError):
            return
        if not 0 <= width <= MAX_WIDTH:  # nor is it for `nan`
            return
        # Ranges of columns do not overlap; where they do, Excel repairs the file.
        if self.widened < MAX_COLUMNS:
            columns = range(max(first, 0), min(last, MAX_COLUMNS))
            self.widened += max(1, len(columns))
            self.found.widths.update(dict.fromkeys(columns, width))


def _is_inline_text(path: list[str], depth: int) -> bool:
    """Return whether a `t` at ``depth`` is a cell's text, and not its phonetic spelling."""
    return path[3] == CELL and path[4] == INLINE and (depth == 5 or (depth == 6 and path[5] == RUN))
