"""Write the finished sheet: the original columns, the model's answers, and each row's status.

openpyxl makes the workbook (styles, frozen header, filter, widths); the rows are streamed into its
worksheet part as XML by this module. Measured with 100,000 x 20 cells on one core: openpyxl's own
`write_only` takes 28 to 31 s, 42 s when cells have styles; XlsxWriter's `constant_memory` 17 to
20 s; this 4 s, all in under 50 MB. Speed is not the only reason. XlsxWriter rounds numbers to 16
digits, knows no error cells, and in that mode writes a text that starts with `<r>` and ends with
`</r>` as markup, which a model's answer could use to break the file. openpyxl takes text that
starts with `=` for a formula, and refuses control characters.

Text is always an inline string, so it can't become a formula, whatever it starts with. Where it
starts like one, the cell also has Excel's quote prefix, so that editing it doesn't make it one.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.styles.numbers import is_date_format, is_timedelta_format
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import to_excel

from rowfleet.cells import Cell, CellError
from rowfleet.errors import InputError
from rowfleet.recipes.names import fold

#: Headers of the two columns that say what became of a row.
STATUS_HEADER, ERROR_HEADER = "AI_Status", "AI_Error"

#: A worksheet's rows and columns, and UTF-16 units in a cell: Excel's limits.
MAX_ROWS, MAX_COLUMNS, MAX_TEXT = 1_048_576, 16_384, 32_767
#: The largest whole number a cell holds exactly: it is a double.
MAX_EXACT = 2**53
#: Errors that every Excel knows; a newer one is written as text.
ERROR_CODES = frozenset(
    {"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA"}
)
#: The first day a cell can hold as a date.
FIRST_DAY = datetime(1900, 1, 1)
#: Rows from which widths are taken where none are given, and the widths' bounds in characters.
SAMPLED_ROWS, MIN_WIDTH, MAX_WIDTH = 50, 9, 60
#: Characters collected before they are compressed: a few hundred rows.
BUFFER_CHARS = 256 << 10

#: Fill of a row by its status: orange where it failed, yellow where it has no end state or result.
_FILLS = {"done": None, "failed": "FCE4D6"}
_UNFINISHED_FILL = "FFF2CC"

#: What XML can't hold, or would not give back as it was. `_x0041_` would be read as an escape.
_SPECIAL = re.compile(r"[&<>\x00-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]|_(?=x[0-9A-Fa-f]{4}_)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A row of the batch, and what became of it."""

    number: int
    cells: Sequence[Cell]
    status: str  #: done, failed, cancelled, pending, queued or running
    output: Mapping[str, Any] | None
    error: str | None


def check_target(out: Path) -> None:
    """Raise InputError unless a finished sheet can be written to ``out``; it is left as it is."""
    if out.suffix.lower() != ".xlsx":
        raise InputError(f"{out}: a finished sheet is an .xlsx file; give a name that ends so")
    if out.is_dir():
        raise InputError(f"{out}: is a directory; give the name of an .xlsx file")
    if out.exists() and not out.is_file():
        raise InputError(f"{out}: is not a regular file")
    partial = _partial(out)
    try:
        partial.touch(exist_ok=False)
        partial.unlink()
    except (OSError, ValueError) as error:
        raise _unwritable(out, error) from None


def check_size(name: str, rows: int, header: Sequence[str], results: int) -> None:
    """Raise InputError, which names the sheet, unless its finished sheet fits into a worksheet.

    ``results`` is the number of columns that answers fill, those for status and error left out.
    """
    if rows >= MAX_ROWS:
        most = MAX_ROWS - 1
        raise InputError(
            f"{name}: {rows:,} rows are more than the {most:,} that the finished sheet can hold "
            f"below its header; submit it in parts: --num-rows 1000000, then --start-row 1000000"
        )
    columns = len(header) + results + len((STATUS_HEADER, ERROR_HEADER))
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{name}: {len(header):,} columns and {columns - len(header):,} for the answers are "
            f"more than the {MAX_COLUMNS:,} that the finished sheet can hold; remove some columns"
        )


def write_sheet(
    out: Path,
    *,
    title: str,
    header: Sequence[str],
    formats: Sequence[str],
    result_headers: Mapping[str, str],
    rows: Iterable[FinishedRow],
    widths: Sequence[float] | None = None,
) -> int:
    """Write ``rows`` to ``out`` in their order, without gaps, and return how many there were.

    ``header``, ``formats`` and ``widths`` (characters) are the original columns';
    ``result_headers`` gives the header of each output property. Headers that the original columns
    have already get a number behind them. ``out`` appears whole, or stays as it was if anything is
    raised. Raises InputError if it can't be written, or a worksheet can't hold so many rows.
    """
    check_target(out)
    names = _headers(header, [*result_headers.values(), STATUS_HEADER, ERROR_HEADER])
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{out}: {len(names):,} columns are more than a worksheet's 16,384")
    lines = (_line(row, len(header), result_headers) for row in rows)
    sample = list(islice(lines, SAMPLED_ROWS))
    # `nan` can stand in older ledgers, and compares false with anything.
    known = [min(width, 255) if width >= 1 else 1 for width in widths or ()]
    book = _Book(title, names, [*known, *_widths(names, sample)[len(known) :]])
    styles = _Styles(book, [*formats, *["General"] * (len(names) - len(header))])
    with _atomic(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        return book.write(package, styles, chain(sample, lines), out)


def _headers(original: Sequence[str], added: Sequence[str]) -> list[str]:
    names = list(original)
    taken = {fold(name) for name in names}
    for wanted in added:
        name, number = wanted, 1
        while fold(name) in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(fold(name))
        names.append(name)
    return names


def _line(
    row: FinishedRow, width: int, result_headers: Mapping[str, str]
) -> tuple[str, list[Cell]]:
    """Return the row's status and all its cells."""
    output = row.output or {}
    cells = [*row.cells[:width], *[None] * (width - len(row.cells))]
    results = [_result(output.get(key)) for key in result_headers]
    return row.status, [*cells, *results, row.status, row.error]


def _result(value: Any) -> Cell:
    """Return a value from the model's JSON as a cell that loses nothing of it."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return str(value)
    return value  # type: ignore[no-any-return]  # JSON's own scalars are cells


def _widths(names: Sequence[str], sample: Sequence[tuple[str, list[Cell]]]) -> list[float]:
    longest = [len(name) + 3 for name in names]  # 3: the filter's button
    for _, cells in sample:
        for column, cell in enumerate(cells):
            if isinstance(cell, str):
                longest[column] = max(longest[column], len(cell) + 1)
            elif isinstance(cell, date):
                longest[column] = max(longest[column], 11)
    return [min(max(width, MIN_WIDTH), MAX_WIDTH) for width in longest]


class _Book:
    """The workbook around the rows: everything but the worksheet's `sheetData`."""

    def __init__(self, title: str, names: Sequence[str], widths: Sequence[float]) -> None:
        self.names = names
        self.letters = [get_column_letter(number + 1) for number in range(len(names))]
        self.workbook = Workbook()
        self.workbook.properties.creator = "Rowfleet"
        self.sheet = self.workbook.worksheets[0]
        self.sheet.title = _safe_title(title)
        self.sheet.freeze_panes = "A2"
        for column, width in zip(self.letters, widths, strict=True):
            self.sheet.column_dimensions[column].width = width

    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        """Return the id of a cell style, new in the workbook if need be."""
        cell = WriteOnlyCell(self.sheet)  # to hang the style on; it is never written
        cell.number_format = number_format
        cell.quotePrefix = quoted
        cell.fill = PatternFill("solid", start_color=fill) if fill else PatternFill()
        cell.font = Font(bold=True, color="FFFFFF") if header else Font()
        cell.alignment = Alignment(vertical="center", wrap_text=True) if header else Alignment()
        return cell.style_id

    def write(
        self,
        package: zipfile.ZipFile,
        styles: _Styles,
        lines: Iterable[tuple[str, list[Cell]]],
        out: Path,
    ) -> int:
        """Write the whole workbook into ``package`` and return the number of rows."""
        head, _ = self._around_rows()
        with package.open(_SHEET_PART, "w", force_zip64=True) as stream:
            # The dimension is left out: it is not known yet, and readers trust a wrong one.
            stream.write(re.sub(rb"<dimension [^>]*>", b"", head) + b"<sheetData>")
            count = self._write_rows(stream, styles, lines, out)
            self.sheet.auto_filter.ref = f"A1:{self.letters[-1]}{count + 1}"
            stream.write(b"</sheetData>" + self._around_rows()[1])
        with zipfile.ZipFile(self._saved()) as rest:
            for name in rest.namelist():
                if name != _SHEET_PART:
                    package.writestr(name, rest.read(name))
        return count

    def _write_rows(
        self, stream: IO[bytes], styles: _Styles, lines: Iterable[tuple[str, list[Cell]]], out: Path
    ) -> int:
        waiting = [self._header_row(styles.header)]
        size = 0
        number = 1
        for number, (status, cells) in enumerate(lines, 2):
            if number > MAX_ROWS:
                raise InputError(f"{out}: a worksheet can't hold more than {MAX_ROWS - 1:,} rows")
            text = self._row(number, cells, styles.of(status))
            waiting.append(text)
            size += len(text)
            if size > BUFFER_CHARS:
                stream.write("".join(waiting).encode())
                waiting.clear()
                size = 0
        stream.write("".join(waiting).encode())
        return number - 1

    def _header_row(self, style: int) -> str:
        quoted = self.style("General", "1F4E78", header=True, quoted=True)
        cells = [
            _text_xml(f"{column}1", quoted if name[:1] in _FORMULA_STARTS else style, name)
            for column, name in zip(self.letters, self.names, strict=True)
        ]
        return f'<row r="1" ht="30" customHeight="1">{"".join(cells)}</row>'

    def _row(self, number: int, cells: Sequence[Cell], styles: Sequence[_ColumnStyles]) -> str:
        parts = [f'<row r="{number}">']
        for column, cell, style in zip(self.letters, cells, styles, strict=True):
            if cell is not None:
                parts.append(_cell_xml(f"{column}{number}", cell, style))
            elif style.fill:
                parts.append(f'<c r="{column}{number}" s="{style.blank}"/>')
        parts.append("</row>")
        return "".join(parts)

    def _around_rows(self) -> tuple[bytes, bytes]:
        """Return the worksheet's XML before and after its `sheetData`."""
        with zipfile.ZipFile(self._saved()) as package:
            head, _, rest = package.read(_SHEET_PART).partition(b"<sheetData")
        return head, rest.partition(b"</sheetData>")[2]

    def _saved(self) -> BytesIO:
        file = BytesIO()
        self.workbook.save(file)
        return file


_SHEET_PART = "xl/worksheets/sheet1.xml"


def _safe_title(title: str) -> str:
    safe = re.sub(r"[\[\]:*?/\\\x00-\x1f]", "_", title)[:31].strip("' ")
    return "Sheet1" if not safe or safe.casefold() == "history" else safe


class _ColumnStyles:
    """Style ids of one number format on one fill. A column may hold cells of several kinds, and a
    date shown in a text's format would be a bare number."""

    def __init__(self, book: _Book, number_format: str, fill: str | None) -> None:
        self._book = book
        self.fill = fill
        self.blank = self._style(number_format)
        dated = is_date_format(number_format)
        duration = is_timedelta_format(number_format)
        self.number = self._style("General") if dated or duration else self.blank
        self.date = self.blank if dated and not duration else self._style("yyyy-mm-dd")
        self.moment = self.blank if dated and not duration else self._style("yyyy-mm-dd hh:mm:ss")
        self.time = self.blank if dated and not duration else self._style("hh:mm:ss")
        self.duration = self.blank if duration else self._style("[h]:mm:ss")

    @cached_property
    def quoted(self) -> int:
        return self._style("General", quoted=True)

    def _style(self, number_format: str, *, quoted: bool = False) -> int:
        return self._book.style(number_format, self.fill, quoted=quoted)


class _Styles:
    """The styles of every column, by a row's status."""

    def __init__(self, book: _Book, formats: Sequence[str]) -> None:
        self._book = book
        self._formats = formats
        self._by_fill: dict[str | None, list[_ColumnStyles]] = {}
        self.header = book.style("General", "1F4E78", header=True)

    def of(self, status: str) -> list[_ColumnStyles]:
        """Return a style set for each column."""
        fill = _FILLS.get(status, _UNFINISHED_FILL)
        if fill not in self._by_fill:
            made = {each: _ColumnStyles(self._book, each, fill) for each in set(self._formats)}
            self._by_fill[fill] = [made[each] for each in self._formats]
        return self._by_fill[fill]


def _cell_xml(ref: str, cell: Cell, styles: _ColumnStyles) -> str:
    """Return the XML of a cell, as text where a cell can't hold the value as what it is."""
    if isinstance(cell, str):
        return _text_xml(ref, styles.quoted if cell[:1] in _FORMULA_STARTS else styles.blank, cell)
    if isinstance(cell, bool):
        return f'<c r="{ref}" s="{styles.blank}" t="b"><v>{cell:d}</v></c>'
    if isinstance(cell, (int, float)):
        if not _fits(cell):
            return _text_xml(ref, styles.quoted if cell < 0 else styles.blank, str(cell))
        return f'<c r="{ref}" s="{styles.number}"><v>{cell!r}</v></c>'
    if isinstance(cell, CellError):
        if cell.code not in ERROR_CODES:
            return _cell_xml(ref, cell.code, styles)
        return f'<c r="{ref}" s="{styles.blank}" t="e"><v>{cell.code}</v></c>'
    return _time_xml(ref, cell, styles) if cell is not None else ""


#: What a spreadsheet, or a program that reads one, takes for the start of a formula.
_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")


def _fits(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:  # an int beyond a double's range
        return False


def _time_xml(ref: str, cell: datetime | date | time | timedelta, styles: _ColumnStyles) -> str:
    if isinstance(cell, timedelta):
        if cell < timedelta():  # Excel shows only #### for it
            return _text_xml(ref, styles.quoted, str(cell))
        style = styles.duration
    elif isinstance(cell, time):
        if cell.tzinfo:
            return _text_xml(ref, styles.blank, cell.isoformat())
        style = styles.time
    else:
        moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
        if moment.tzinfo or moment < FIRST_DAY:
            return _text_xml(ref, styles.blank, cell.isoformat())
        style = styles.date if moment.time() == time() else styles.moment
    serial = to_excel(cell)  # type: ignore[no-untyped-call]  # openpyxl gives it no types
    return f'<c r="{ref}" s="{style}"><v>{serial!r}</v></c>'


def _text_xml(ref: str, style: int, text: str) -> str:
    if len(text) > MAX_TEXT // 2 and _units(text) > MAX_TEXT:
        text = _truncated(text)
    if _SPECIAL.search(text):
        text = _SPECIAL.sub(_escape, text)
    return f'<c r="{ref}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _truncated(text: str) -> str:
    start = text.encode("utf-16-le", "surrogatepass")[: (MAX_TEXT - 1) * 2]
    return start.decode("utf-16-le", "ignore") + "…"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ENTITIES:
        return _ENTITIES[character]
    if "\ud800" <= character <= "\udfff":  # half of a pair: no text, in XML or anywhere
        return "\N{REPLACEMENT CHARACTER}"
    return f"_x{ord(character):04X}_"


@contextmanager
def _atomic(out: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes ``out`` when the block ends well, and is gone otherwise.

    It never has a right that the file there has not, and none that the umask takes away.
    """
    partial = _partial(out)
    try:
        mode = 0o666 & (out.stat().st_mode if out.exists() else 0o666)
        with open(partial, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise _unwritable(out, error) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


def _partial(out: Path) -> Path:
    return out.parent / f".rowfleet-{secrets.token_hex(6)}.part"


def _unwritable(out: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{out}: can't be written: {reason}")
