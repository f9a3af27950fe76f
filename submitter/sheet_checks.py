"""What is checked in a workbook before any row of it is used, so that reading can't fail half way.

`check_package` looks at sizes before a byte is unpacked, and `check_others` proves the members
whole that nothing reads. A part that is read is parsed within the bounds of `sheet_xml`, and is
well-formed and free of entities. `scan` walks the worksheet: it finds which rows and columns hold a
value and which formulas lack a stored one, and turns away what reading would stumble over. Rows in
the plain form of `sheet_plain` pass beside expat. So 100,000 rows of 15 columns are proven in half
a second.
"""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from operator import lt
from typing import IO

from openpyxl.utils import get_column_letter

from rowfleet.errors import InputError
from submitter import sheet_cells, sheet_plain, sheet_xml
from submitter.sheet_cells import MAX_COLUMNS, MAX_ROWS
from submitter.sheet_strings import SharedStrings

#: Bytes all members may unpack to (2 GiB). 100,000 rows of 15 columns need 60 MB.
MAX_UNPACKED_BYTES = 2 << 30
#: Bytes a member other than a worksheet may unpack to (512 MiB): shared strings stay in memory.
MAX_PART_BYTES = 512 << 20
#: Times a member may grow when unpacked: real worksheets 5 to 30, a bomb of zeros 1,032.
MAX_RATIO = 100
#: Bytes below which a member's ratio does not matter (32 MiB): small, whatever it grew from.
RATIO_FREE_BYTES = 32 << 20
#: Members of a workbook; real ones have dozens.
MAX_MEMBERS = 10_000
#: Bytes of the zip's directory (2 MiB), which `zipfile` reads whole: room for MAX_MEMBERS and more.
MAX_DIRECTORY_BYTES = 2 << 20
#: Characters of one cell (1 MiB). Excel's own limit is 32,767; other programs write more.
MAX_CELL_CHARS = 1 << 20
#: XML elements and bytes (4 MiB) in one row, or above the rows: 16,384 cells with some 6 elements.
MAX_ROW_ELEMENTS, MAX_ROW_BYTES = 100_000, 4 << 20
#: XML elements below the rows: merged ranges, conditional formats and the like.
MAX_OTHER_ELEMENTS = 1_500_000
#: Merged ranges that are remembered; they are only looked at to explain a header without a name.
MAX_MERGED = 10_000
#: A column's width in characters: Excel's limit.
MAX_WIDTH = 255
#: Bytes read at a time.
CHUNK = 128 << 10

#: How a zip file begins: with its first member, or with its end if it has none.
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_END_RECORD = struct.Struct("<4s4H2LH")
#: The same for zips beyond 4 GiB, and what stands between the two.
_LARGE_END_RECORD, _LARGE_LOCATOR_BYTES = struct.Struct("<4sQ2H2L4Q"), 20


def letter(column: int) -> str:
    """Return the letter of the column with this index, from 0."""
    return get_column_letter(column + 1)


def refuse_ole(file: BufferedReader, name: str) -> None:
    """Raise the InputError for a file in Microsoft's compound format, which holds no .xlsx."""
    mark = "EncryptedPackage".encode("utf-16-le")
    encrypted, before = False, b""
    while not encrypted and (chunk := file.read(CHUNK)):
        encrypted = mark in before + chunk
        before = chunk[-len(mark) :]
    if encrypted:
        raise InputError(f"{name}: the workbook is encrypted; save it without a password")
    raise InputError(f"{name}: an old .xls workbook can't be read; save it as .xlsx")


def check_package(file: BufferedReader, name: str) -> zipfile.ZipFile:
    """Return the opened zip, whose members unpack to no more than a workbook may.

    Raises InputError when the zip is truncated or damaged, unpacks to too much, or is no Excel
    workbook. The readers of the members check what those hold; ``check_others`` has the rest.
    """
    _check_directory(file, name)
    with _one_sentence(name):
        package = zipfile.ZipFile(file)
    members = package.infolist()
    _check_sizes(members, name)
    _check_kind({member.filename for member in members}, name)
    return package


def check_others(package: zipfile.ZipFile, read: Collection[str | None], name: str) -> None:
    """Prove whole what nothing else reads to its end: all members but those in ``read``.

    They are unpacked and dropped, chunk by chunk; nothing parses them.
    """
    for member in package.infolist():
        if member.filename not in read:
            with opened(package, member.filename, name) as stream:
                while stream.read(CHUNK):
                    pass


def _is_worksheet(member: zipfile.ZipInfo) -> bool:
    return "/worksheets/" in member.filename and member.filename.lower().endswith(".xml")


def _damaged(name: str) -> InputError:
    return InputError(f"{name}: truncated or damaged, not a whole .xlsx file; copy it again")


#: What `zipfile` and its decompressors raise for a file that is not whole. A name whose bytes are
#: not the UTF-8 that they say is a UnicodeDecodeError.
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    UnicodeDecodeError,
)


@contextmanager
def _one_sentence(where: str) -> Iterator[None]:
    """Turn whatever the block raises into an InputError that begins with ``where``.

    Libraries raise many things for bytes that their authors did not foresee. Here all of them mean
    that the file can't be read, and nothing is recorded yet.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGES:
        raise _damaged(where) from None
    except Exception as error:
        raise InputError(f"{where} can't be read ({type(error).__name__}); {MEND}") from None


def _check_directory(file: BufferedReader, name: str) -> None:
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_RECORD.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_RECORD.size:
        raise _damaged(name)
    directory_bytes = _END_RECORD.unpack_from(tail, at)[5]
    # A larger record right before it wins, if there is one.
    large = at - _LARGE_LOCATOR_BYTES - _LARGE_END_RECORD.size
    if large >= 0 and tail[large : large + 4] == b"PK\x06\x06":
        directory_bytes = max(directory_bytes, _LARGE_END_RECORD.unpack_from(tail, large)[8])
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise InputError(f"{name}: has too many members for a spreadsheet")


def _check_sizes(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{name}: has {len(members):,} members, too many for a spreadsheet")
    twice = [part for part, count in Counter(m.filename for m in members).items() if count > 1]
    if twice:
        raise InputError(f"{name}: the zip holds the part {twice[0][:100]!r} twice")
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise InputError(f"{name}: unpacks to {_mib(total)}, more than {_mib(MAX_UNPACKED_BYTES)}")
    for member in members:
        if member.flag_bits & 1:
            raise InputError(f"{name}: the zip is encrypted; save it without a password")
        if not _is_worksheet(member) and member.file_size > MAX_PART_BYTES:
            raise InputError(
                f"{name}: {member.filename[:100]!r} unpacks to {_mib(member.file_size)}, "
                f"more than {_mib(MAX_PART_BYTES)}"
            )
        if (
            member.file_size > RATIO_FREE_BYTES
            and member.file_size > MAX_RATIO * member.compress_size
        ):
            raise InputError(
                f"{name}: {member.filename[:100]!r} grows more than {MAX_RATIO} times when "
                f"unpacked, as only a zip bomb does"
            )


def _mib(size: int) -> str:
    return f"{size >> 20:,} MiB"


@contextmanager
def opened(package: zipfile.ZipFile, member: str, name: str) -> Iterator[IO[bytes]]:
    """Open a member. InputError, which names it, for whatever reading it in the block raises."""
    with _one_sentence(f"{name}: the part {member[:100]!r}"), package.open(member) as stream:
        yield stream


def _check_kind(names: set[str], name: str) -> None:
    if "xl/workbook.bin" in names:
        raise InputError(f"{name}: an .xlsb workbook can't be read; save it as .xlsx")
    if "content.xml" in names and "mimetype" in names:
        raise InputError(f"{name}: an OpenDocument sheet can't be read; save it as .xlsx")
    if "[Content_Types].xml" not in names:
        raise InputError(f"{name}: a zip file, but not an Excel workbook")


@dataclass(slots=True)
class Scan:
    """What a walk through one worksheet found. Rows and columns are indexes from 0."""

    #: One byte a sheet row, 1 where the row holds a value.
    filled: bytearray = field(default_factory=bytearray)
    #: Column → style id of its first value below the header.
    styles: dict[int, int] = field(default_factory=dict)
    #: Column → sheet row of its first value below the header.
    first: dict[int, int] = field(default_factory=dict)
    #: Column → sheet row of its first formula below the header that has no stored value.
    uncached: dict[int, int] = field(default_factory=dict)
    #: Merged ranges (`B3:C3`) and column widths in characters, where the sheet says them.
    merged: list[str] = field(default_factory=list)
    widths: dict[int, float] = field(default_factory=dict)


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
    parser = sheet_xml.Parser(f"{name}: the part {member[:100]!r}", walk.start, walk.characters)
    walk.ends = parser.ends
    plain = sheet_plain.rows(len(strings), strings.blank)
    with opened(package, member, name) as stream:
        for other, run in sheet_plain.split(stream, sheet_plain.SHEET_DATA, plain, b"</row>"):
            parser.feed(other, walk.fed)
            if run:
                walk.run(run)
            if walk.filled > rows:
                break
        else:
            parser.close()
        walk.end_cell()
    return walk.found


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_CELL, _FORMULA, _ROW, _COLUMN, _MERGE, _SHEET_DATA, _VALUE, _INLINE, _RUN, _TEXT = (
    _MAIN + tag for tag in ("c", "f", "row", "col", "mergeCell", "sheetData", "v", "is", "r", "t")
)
#: Elements within each other, from the worksheet to the text of a run of inline text.
_LEVELS = 7

#: What texts hold, and what all else differs in from row to row, is left out of a row's shape.
_CONTENT = re.compile(rb"(<[tfv](?: [^<>]*+)?>)[^<]++")
_DIGITS = b"0123456789.-"
#: What ends a sentence about XML that Excel would repair.
MEND = "open and save it in Excel"
#: Bytes of the shapes remembered; a sheet has a few of some hundred bytes.
MAX_SHAPE_BYTES = 4 << 20
_ROW_NUMBER = re.compile(sheet_plain.ROW_START + rb"([0-9]+)")
_ATTRIBUTE = re.compile(r' (r|s|t)="([^"]*)"')


def _shapes(run: bytes) -> list[bytes]:
    return run.translate(None, _DIGITS).split(sheet_plain.ROW_START)[1:]


class _Walk:
    """Handlers for expat, and for the runs of plain rows beside it.

    A cell is judged when the next one starts: end handlers cost a third.
    """

    __slots__ = (
        "below",
        "bytes",
        "column",
        "elements",
        "ended",
        "ends",
        "filled",
        "formula",
        "found",
        "in_text",
        "kind",
        "open",
        "past",
        "path",
        "row",
        "row_text",
        "shape_bytes",
        "shapes",
        "started",
        "strings",
        "style",
        "table",
        "text",
        "text_depth",
        "valued",
        "where",
        "widened",
    )

    def __init__(self, strings: SharedStrings, where: str, below: int) -> None:
        self.strings = strings
        self.where = where
        self.below = below
        self.found = Scan()
        self.row = -1
        self.row_text = "0"
        self.column = -1
        self.elements = 0
        #: Elements that have started and ended in what expat got.
        self.started = self.ended = 0
        #: Tags that have ended in the slice that expat has now; the parser clears it.
        self.ends: list[str] = []
        #: The last tag that started on each level, so the open ones above the current one.
        self.path = [""] * _LEVELS
        #: Elements around the text of the element that started last.
        self.text_depth = 0
        #: Bytes that expat got since the last row started.
        self.bytes = 0
        self.filled = 0
        #: Columns that a width was said for.
        self.widened = 0
        #: Whether the rows are over.
        self.past = False
        #: `valued`: whether the cell has a `v`.
        #: Whether the rows have begun.
        self.table = False
        self.open = self.in_text = self.formula = self.valued = False
        self.kind: str | None = None
        self.style = 0
        self.text = ""
        #: Shape of a plain row below the header → whether such a row holds a value.
        self.shapes: dict[bytes, bool] = {}
        self.shape_bytes = 0

    def fed(self, size: int, ended: list[str]) -> int:
        """Take note of a slice that expat got, and return how many elements are open."""
        self.ended += len(ended)
        self.bytes += size
        self.past = self.past or _SHEET_DATA in ended
        if self.past and self.elements > MAX_OTHER_ELEMENTS:
            raise InputError(
                f"{self.where}: has more than {MAX_OTHER_ELEMENTS:,} XML elements below its rows"
            )
        if self.bytes > MAX_ROW_BYTES and not self.past:
            raise self._malformed(f"has more than {MAX_ROW_BYTES >> 20} MiB of XML")
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
            for row in run.split(sheet_plain.ROW_START)[1:]:
                self._plain_row(row)
            return
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
            rows = run.split(sheet_plain.ROW_START)[1:]
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
        self._start_row({"r": number})
        for letters, attributes, formula, raw in sheet_plain.ANY_CELL.findall(cells.encode()):
            self.elements += 1
            given = f' r="{letters.decode()}{number}"{attributes.decode()}'
            self._start_cell(dict(_ATTRIBUTE.findall(given)))
            self.formula = bool(formula)
            self.text = sheet_plain.text(raw)
            self.end_cell()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        depth = self.started - self.ended - len(self.ends)  # how many elements are around this one
        self.started += 1
        self.elements += 1
        if self.elements > MAX_ROW_ELEMENTS and not self.past:
            raise self._malformed(f"has more than {MAX_ROW_ELEMENTS:,} XML elements")
        if self.in_text:
            if depth >= self.text_depth:
                raise self._malformed("has XML elements within a value")
            self.in_text = False
        path = self.path
        if depth < _LEVELS:
            path[depth] = tag
        if tag == _VALUE and depth == 4 and path[3] == _CELL:
            self._start_value()
        elif tag == _CELL:
            if self.open:
                self.end_cell()
            if depth != 3 or path[2] != _ROW:
                raise self._malformed("has a cell outside the rows")
            self._start_cell(attributes)
        elif tag == _FORMULA:
            self.formula = True
        elif tag == _TEXT:
            self.in_text = _is_inline_text(path, depth)
            self.text_depth = depth + 1
        elif tag == _ROW:
            self.end_cell()
            self._check_place(path, depth)
            self._start_row(attributes)
        else:
            self._start_other(tag, attributes, depth)

    def _start_value(self) -> None:
        if self.valued:
            raise self._malformed("has two values in one cell")
        self.valued = self.in_text = True
        self.text_depth = 5

    def _check_place(self, path: list[str], depth: int) -> None:
        """Refuse a row that stands anywhere else, which the reading would pass over."""
        if depth != 2 or path[1] != _SHEET_DATA:
            raise InputError(f"{self.where}: has rows outside its table; {MEND}")

    def _start_other(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        if tag == _SHEET_DATA:
            if depth != 1 or self.table:
                raise InputError(f"{self.where}: has more than one table of rows; {MEND}")
            self.table = True
        elif tag == _COLUMN:
            self._widths(attributes)
        elif tag == _MERGE and len(self.found.merged) < MAX_MERGED:
            self.found.merged.append(attributes.get("ref", "")[:40])

    def characters(self, text: str) -> None:
        if self.in_text and self.started - self.ended - len(self.ends) >= self.text_depth:
            self.text += text
            if len(self.text) > MAX_CELL_CHARS:
                raise self._malformed(f"has a cell of more than {MAX_CELL_CHARS:,} characters")

    def _start_row(self, attributes: dict[str, str]) -> None:
        self.row_text = attributes.get("r") or str(self.row + 2)
        try:
            row = sheet_cells.whole_number(self.row_text) - 1
        except ValueError:
            row = -1
        if not self.row < row < MAX_ROWS:
            raise InputError(f"{self.where}: the row number {self.row_text[:20]!r} is out of order")
        self.found.filled.extend(bytes(max(0, row - len(self.found.filled) + 1)))
        self.row = row
        self.column = -1
        self.elements = self.bytes = 0

    def _start_cell(self, attributes: dict[str, str]) -> None:
        reference = attributes.get("r")
        column = sheet_cells.column_index(reference, self.row_text, self.column)
        if not self.column < column < MAX_COLUMNS:
            shown = (reference or "")[:20]
            raise self._malformed(f"has the cell reference {shown!r} out of order")
        self.column = column
        self.kind = attributes.get("t")
        style = attributes.get("s")
        try:
            self.style = sheet_cells.whole_number(style) if style is not None else 0
        except ValueError:
            shown = (style or "")[:20]
            raise self._malformed(f"has a cell with the style {shown!r}") from None
        self.text = ""
        self.formula = self.valued = False
        self.open = True

    def end_cell(self) -> None:
        """Judge the cell that was read last."""
        if not self.open:
            return
        self.open = False
        found = self.found
        if not self.text or not self._holds_value():
            if self.formula and self.kind != "str" and self.row > self.below:
                found.uncached.setdefault(self.column, self.row)
            return
        if not found.filled[self.row]:
            found.filled[self.row] = 1
            self.filled += 1
        if self.row > self.below and self.column not in found.first:
            found.first[self.column] = self.row
            found.styles[self.column] = self.style

    def _holds_value(self) -> bool:
        """Return whether the text is a value, not blank; raise if it could not be read."""
        try:
            value = sheet_cells.value(self.kind, self.text, self.strings)
        except (ValueError, IndexError, OverflowError):
            raise self._malformed(
                f"has no readable value in {letter(self.column)}{self.row + 1} "
                f"({self.text.strip()[:20]!r})"
            ) from None
        return not isinstance(value, str) or bool(value and not value.isspace())

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

    def _malformed(self, what: str) -> InputError:
        if self.row < 0:
            return InputError(f"{self.where}, above its rows: {what}; {MEND}")
        return InputError(f"{self.where}, row {self.row + 1}: {what}; {MEND}")


def _is_inline_text(path: list[str], depth: int) -> bool:
    """Return whether a `t` at ``depth`` is a cell's text, and not its phonetic spelling."""
    return (
        path[3] == _CELL and path[4] == _INLINE and (depth == 5 or (depth == 6 and path[5] == _RUN))
    )
