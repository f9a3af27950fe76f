"""Read a spreadsheet's rows as a stream, after everything that could go wrong was checked.

`open_sheet` does all the checking: when it has given a `Sheet`, reading the rows can't fail half
way, so nothing half-submitted stays behind. An .xlsx is walked twice, once by `sheet_checks` and
once to read it; a .csv likewise by `sheet_csv`. Rows in the form that nearly every program writes
go through `sheet_plain` and `sheet_values`, others through expat, ElementTree and `sheet_cells`.
With all checks, 100,000 x 15 cells take a third of what openpyxl alone needs. Memory is the
workbook's shared strings, kept small by `sheet_strings`.

What a sheet must look like:

- The header is the first of its first 25 filled rows that holds every column the recipe requires,
  else the first filled row. Titles above it do no harm.
- Every column that holds a value below the header has a name of its own there. So a stray note
  right of the table is an error that names the cell: dropping it would lose data from the finished
  sheet, and keeping it would send a value without a name. Unnamed columns without data are dropped.
- A row without any value (blanks, spaces) is skipped, and keeps its number.
"""

from __future__ import annotations

import hashlib
import random
import stat
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import compress, islice
from pathlib import Path

from openpyxl.xml.constants import SHEET_MAIN_NS

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter import sheet_cells, sheet_checks, sheet_csv, sheet_plain, sheet_workbook
from submitter.sheet_checks import letter
from submitter.sheet_header import HEADER_SEARCH_ROWS, Header, choose_header
from submitter.sheet_strings import SharedStrings
from submitter.sheet_values import PlainRows
from submitter.sheet_workbook import Found, Workbook

#: Suffixes of text files that are read as comma-separated values.
CSV_SUFFIXES = (".csv", ".tsv", ".txt")

#: Names of sheets that an error lists.
MAX_TITLES_SHOWN = 50

#: Excel's own width of a column, in characters.
DEFAULT_WIDTH = 8.43

#: Yields (sheet position, cells) for the filled positions from the first number up to the second.
Reader = Callable[[int, int], Generator[tuple[int, list[Cell]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """One checked sheet. ``open_sheet`` makes it; it can be read while that is open.

    Positions count the sheet's rows from 0 directly below the header, blank ones too.
    """

    name: str  #: The file, as errors name it.
    title: str  #: The sheet's name; a .csv file's is the file's.
    header: tuple[str, ...]
    formats: tuple[str, ...]  #: Number format of each column: of its first value, or "General".
    widths: tuple[float, ...] | None  #: In characters; None where the sheet says none.
    columns: dict[str, int]  #: What the recipe sends: its name for the model → index in ``header``.
    sha256: str  #: Of the file's bytes, in hex.
    filled: bytearray  #: One byte a position: 1 where the row holds a value.
    read: Reader
    is_text: bool = False  #: A .csv file: it has no sheets, and its title says nothing.

    @property
    def where(self) -> str:
        """What sentences call it: the file, and the sheet of a workbook."""
        return self.name if self.is_text else f"{self.name}, sheet {self.title!r}"

    def rows(
        self, start_row: int = 0, num_rows: int | None = None
    ) -> Generator[tuple[int, list[Cell]]]:
        """Yield (position, cells) of each filled row in a range of positions.

        ``start_row`` is the first position; ``num_rows`` is how many positions, not how many filled
        rows, and may reach past the end. Raises InputError at once, as ``count`` does.
        """
        self.count(start_row, num_rows)
        return self.read(start_row, self._stop(start_row, num_rows))

    def count(self, start_row: int = 0, num_rows: int | None = None) -> int:
        """Return how many rows ``rows`` yields for the same range, without reading anything.

        Raises InputError for a negative ``start_row``, a ``num_rows`` below 1, and a range without
        a row, which is told the last row there is.
        """
        if start_row < 0:
            raise InputError(f"--start-row {start_row}: rows are counted from 0")
        if num_rows is not None and num_rows < 1:
            raise InputError(f"--num-rows {num_rows}: must be at least 1")
        stop = self._stop(start_row, num_rows)
        count = self.filled.count(1, start_row, stop) if start_row < stop else 0
        if not count:
            asked = f"--start-row {start_row}" + (f" --num-rows {num_rows}" if num_rows else "")
            raise InputError(
                f"{self.where}: {asked} holds no row; the last row is {len(self.filled) - 1}"
            )
        return count

    def drawn(
        self, count: int, seed: str, start_row: int = 0, num_rows: int | None = None
    ) -> list[int]:
        """Return the positions of ``count`` random rows of the range, or of all if it has less.

        The same ``seed`` draws the same. Raises InputError as ``count`` does.
        """
        total = self.count(start_row, num_rows)
        draw = random.Random(seed)  # noqa: S311 (not a secret: drawn again, it must be the same)
        chosen = set(draw.sample(range(total), min(count, total)))
        stop = self._stop(start_row, num_rows)
        filled = compress(range(start_row, stop), self.filled[start_row:stop])
        return [number for place, number in enumerate(filled) if place in chosen]

    def _stop(self, start_row: int, num_rows: int | None) -> int:
        end = len(self.filled)
        return end if num_rows is None else min(end, start_row + num_rows)


@contextmanager
def open_sheet(
    path: Path, sheet: str | None = None, *, recipe: Recipe | None = None, name: str | None = None
) -> Iterator[Sheet]:
    """Check a spreadsheet and give it as a ``Sheet``, readable until the ``with`` block ends.

    ``sheet`` names the worksheet; without it, it is the first visible one. ``recipe`` says which
    columns must be there; without it, every column is sent. ``name`` is what errors call the file.

    Raises InputError for everything that could keep a row from being read later: see the module.
    """
    name = name or str(path)
    with _open_file(path, name) as file:
        magic = file.read(8)
        sha256 = hashlib.file_digest(_rewound(file), "sha256").hexdigest()
        _rewound(file)
        if magic.startswith(sheet_checks.ZIP_MAGICS):
            with _open_workbook(file, sheet, recipe, name, sha256) as opened:
                yield opened
        elif magic == sheet_checks.OLE_MAGIC:
            sheet_checks.refuse_ole(file, name)
        elif not magic:
            raise InputError(f"{name}: the file is empty")
        elif Path(name).suffix.lower() in CSV_SUFFIXES or path.suffix.lower() in CSV_SUFFIXES:
            if sheet is not None:
                raise InputError(f"{name}: a .csv file has no sheets, so not {sheet!r} either")
            yield _open_csv(file, recipe, name, sha256)
        else:
            raise InputError(f"{name}: not a spreadsheet; give an .xlsx or a .csv file")


@contextmanager
def _open_file(path: Path, name: str) -> Iterator[BufferedReader]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a directory, not a spreadsheet")
        if not stat.S_ISREG(mode):
            raise InputError(f"{name}: not a regular file")
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: can't be read: {reason}") from None
    with file:
        yield file


def _rewound(file: BufferedReader) -> BufferedReader:
    file.seek(0)
    return file


def _open_csv(file: BufferedReader, recipe: Recipe | None, name: str, sha256: str) -> Sheet:
    table = sheet_csv.CsvTable(file, name)
    header = choose_header(table.head(HEADER_SEARCH_ROWS), recipe, name)
    found = table.check(header.row)
    header.check_columns(found.first)
    first = header.row + 1

    def read(start: int, stop: int) -> Generator[tuple[int, list[Cell]]]:
        for row, cells in table.rows(found, first + start, first + stop):
            yield row - first, _pick(cells, header.indexes)

    return Sheet(
        name=name,
        title=Path(name).stem,
        header=header.names,
        formats=tuple(found.formats.get(index, "General") for index in header.indexes),
        widths=None,
        columns=header.columns,
        sha256=sha256,
        filled=_below(found.filled, first),
        read=read,
        is_text=True,
    )


def _pick(cells: list[Cell], indexes: tuple[int, ...]) -> list[Cell]:
    width = len(cells)
    return [cells[index] if index < width else None for index in indexes]


def _below(filled: bytearray, first: int) -> bytearray:
    """Return the part of ``filled`` below the header, up to the last row that holds a value."""
    return filled[first : filled.rfind(1) + 1]


@contextmanager
def _open_workbook(
    file: BufferedReader, wanted: str | None, recipe: Recipe | None, name: str, sha256: str
) -> Iterator[Sheet]:
    with sheet_checks.check_package(file, name) as package:
        book = sheet_workbook.read(package, name)
        found = _choose_worksheet(book, wanted, name)
        strings = SharedStrings()
        if book.strings is not None:
            with sheet_checks.opened(package, book.strings, name) as stream:
                strings = SharedStrings(stream, f"{name}: the part {book.strings!r}")
        sheet_checks.check_others(package, (found.path, book.strings), name)
        part = _Part(package, book, found, strings, name, f"{name}, sheet {found.title!r}")
        yield _check_worksheet(part, recipe, name, sha256)


def _choose_worksheet(book: Workbook, wanted: str | None, name: str) -> Found:
    titles = ", ".join(repr(found.title) for found in book.worksheets[:MAX_TITLES_SHOWN])
    if not book.worksheets:
        raise InputError(
            f"{name}: holds no worksheet that can be read; save it as an ordinary .xlsx "
            f"(not as a Strict Open XML Spreadsheet)"
        )
    if wanted is None:
        visible = [found for found in book.worksheets if found.state == "visible"]
        return (visible or book.worksheets)[0]
    for found in book.worksheets:
        if found.title.casefold() == wanted.casefold():  # Excel's names ignore case too
            return found
    if any(chart.casefold() == wanted.casefold() for chart in book.charts):
        raise InputError(f"{name}: {wanted!r} is a chart, not a worksheet; there are {titles}")
    raise InputError(f"{name}: no sheet {wanted!r}; there are {titles}")


SHEET_DATA_TAG = f"{{{SHEET_MAIN_NS}}}sheetData"


@dataclass(frozen=True, slots=True)
class _Part:
    """One worksheet's XML, and the two ways through it: the checking walk and the reading one."""

    package: zipfile.ZipFile
    book: Workbook
    found: Found
    strings: SharedStrings
    name: str
    where: str

    def scan(self, below: int, rows: int) -> sheet_checks.Scan:
        return sheet_checks.scan(
            self.package,
            self.found.path,
            self.strings,
            name=self.name,
            where=self.where,
            below=below,
            rows=rows,
        )

    def rows(
        self, filled: bytearray, indexes: tuple[int, ...] | None = None
    ) -> Iterator[tuple[int, list[Cell]]]:
        """Yield (sheet row from 0, cells) of the rows that ``filled`` marks.

        ``indexes`` picks the columns; without it all cells come, up to a row's last.

        Rows in the plain form are converted by `sheet_values`, all others by `sheet_cells`.
        """
        book, strings = self.book, self.strings
        last = filled.rfind(1)
        odd = sheet_cells.OddRows(
            strings, epoch=book.epoch, dates=book.dates, durations=book.durations
        )
        plain = None
        if indexes is not None:
            plain = sheet_plain.rows(len(strings), strings.blank)
            converter = PlainRows(
                indexes,
                strings,
                epoch=book.epoch,
                dates=book.dates,
                durations=book.durations,
            )
        elements = sheet_plain.Elements(sheet_cells.ROW, SHEET_DATA_TAG)
        with sheet_checks.opened(self.package, self.found.path, self.name) as stream:
            for other, run in sheet_plain.split(stream, sheet_plain.SHEET_DATA, plain, b"</row>"):
                for element in elements.of(other):
                    row, cells = odd.row(element)
                    if filled[row]:
                        yield row, _pick(cells, indexes) if indexes else cells
                    if row >= last:
                        return  # what follows the rows is not ours, and may be odd
                if elements.over:
                    return
                if run:
                    yield from converter.rows(run, filled)
                    last_row = sheet_plain.last_row(run)
                    if last_row > last:
                        return
                    odd.last = last_row


def _check_worksheet(part: _Part, recipe: Recipe | None, name: str, sha256: str) -> Sheet:
    head_scan = part.scan(below=-1, rows=HEADER_SEARCH_ROWS)
    head = list(islice(part.rows(head_scan.filled), HEADER_SEARCH_ROWS))
    header = choose_header(head, recipe, part.where)
    found = part.scan(below=header.row, rows=sheet_cells.MAX_ROWS)
    header.check_columns(found.first, found.merged)
    _check_formulas(found, header, part.where)
    first = header.row + 1

    def read(start: int, stop: int) -> Generator[tuple[int, list[Cell]]]:
        wanted = found.filled[: first + stop]
        wanted[: first + start] = bytes(first + start)
        for row, cells in part.rows(wanted, header.indexes):
            yield row - first, cells

    return Sheet(
        name=name,
        title=part.found.title,
        header=header.names,
        formats=tuple(
            part.book.number_format(found.styles.get(index, 0)) for index in header.indexes
        ),
        widths=_widths(found.widths, header.indexes),
        columns=header.columns,
        sha256=sha256,
        filled=_below(found.filled, first),
        read=read,
    )


def _widths(known: dict[int, float], indexes: tuple[int, ...]) -> tuple[float, ...] | None:
    return tuple(known.get(index, DEFAULT_WIDTH) for index in indexes) if known else None


def _check_formulas(found: sheet_checks.Scan, header: Header, where: str) -> None:
    """Refuse a column that is sent and has a formula whose value nobody has computed."""
    sent = {header.indexes[column] for column in header.columns.values()}
    cells = sorted((row, column) for column, row in found.uncached.items() if column in sent)
    if cells:
        row, column = cells[0]
        raise InputError(
            f"{where}: the formula in {letter(column)}{row + 1} has no stored value; open the file "
            f"in Excel or LibreOffice and save it, so that values are stored"
        )
