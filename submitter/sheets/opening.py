"""Read a spreadsheet's rows as a stream, after everything that could go wrong was checked.

`open_sheet` does all the checking: when it has given a `Sheet`, reading the rows can't fail half
way, so nothing half-submitted stays behind. An .xlsx is walked twice, once by `scan` and once
to read it; a .csv likewise by `delimited`. Rows in the form that nearly every program writes go
through `plain_rows` and `plain_values`, others through expat, ElementTree and `values`.
With all checks, 100,000 x 15 cells take a third of what openpyxl alone needs. Memory is the
workbook's shared strings, kept small by `shared_strings`.

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
import stat
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.sheets import delimited, workbook
from submitter.sheets.header import HEADER_SEARCH_ROWS, choose_header
from submitter.sheets.package import (
    CHUNK,
    OLE_MAGIC,
    ZIP_MAGICS,
    Members,
    open_package,
    opened,
)
from submitter.sheets.shared_strings import SharedStrings
from submitter.sheets.sheet import Sheet, below, pick
from submitter.sheets.workbook import Found, Workbook
from submitter.sheets.worksheet import Part, check_worksheet

#: Suffixes of text files that are read as comma-separated values.
CSV_SUFFIXES = (".csv", ".tsv", ".txt")

#: Names of sheets that an error lists.
MAX_TITLES_SHOWN = 50


@contextmanager
def open_sheet(
    path: Path,
    sheet: str | None = None,
    *,
    recipe: Recipe | None = None,
    name: str | None = None,
    by_pattern: bool = True,
) -> Iterator[Sheet]:
    """Check a spreadsheet and give it as a ``Sheet``, readable until the ``with`` block ends.

    ``sheet`` names the worksheet; without it, it is the first visible one. ``recipe`` says which
    columns must be there; without it, every column is sent. ``name`` is what errors call the file.
    ``by_pattern`` is False where the XML parser is to read every row of a workbook.

    Raises InputError for everything that could keep a row from being read later: see the module.
    """
    name = name or str(path)
    with _open_file(path, name) as file:
        magic = file.read(8)
        sha256 = hashlib.file_digest(_rewound(file), "sha256").hexdigest()
        _rewound(file)
        if magic.startswith(ZIP_MAGICS):
            with _open_workbook(file, sheet, recipe, name, sha256, by_pattern=by_pattern) as opened:
                yield opened
        elif magic == OLE_MAGIC:
            _refuse_ole(file, name)
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
    table = delimited.CsvTable(file, name)
    header = choose_header(table.head(HEADER_SEARCH_ROWS), recipe, name)
    found = table.check(header.row)
    header.check_columns(found.first)
    first = header.row + 1

    def read(start: int, stop: int) -> Generator[tuple[int, list[Cell]]]:
        for row, cells in table.rows(found, first + start, first + stop):
            yield row - first, pick(cells, header.indexes)

    return Sheet(
        name=name,
        title=Path(name).stem,
        header=header.names,
        formats=tuple(found.formats.get(index, "General") for index in header.indexes),
        widths=None,
        columns=header.columns,
        sha256=sha256,
        filled=below(found.filled, first),
        read=read,
        header_row=header.row,
        sheet_columns=header.indexes,
        is_text=True,
    )


def _check_kind(package: zipfile.ZipFile, name: str) -> None:
    members = Members(package.namelist())
    if "xl/workbook.bin" in members:
        raise InputError(f"{name}: an .xlsb workbook can't be read; save it as .xlsx")
    if "content.xml" in members and "mimetype" in members:
        raise InputError(f"{name}: an OpenDocument sheet can't be read; save it as .xlsx")


def _refuse_ole(file: BufferedReader, name: str) -> None:
    """Raise the InputError for a file in Microsoft's compound format, which holds no .xlsx."""
    mark = "EncryptedPackage".encode("utf-16-le")
    encrypted, before = False, b""
    while not encrypted and (chunk := file.read(CHUNK)):
        encrypted = mark in before + chunk
        before = chunk[-len(mark) :]
    if encrypted:
        raise InputError(f"{name}: the workbook is encrypted; save it without a password")
    raise InputError(f"{name}: an old .xls workbook can't be read; save it as .xlsx")


@contextmanager
def _open_workbook(
    file: BufferedReader,
    wanted: str | None,
    recipe: Recipe | None,
    name: str,
    sha256: str,
    *,
    by_pattern: bool,
) -> Iterator[Sheet]:
    with open_package(file, name) as package:
        _check_kind(package, name)
        book = workbook.read(package, name)
        found = _choose_worksheet(book, wanted, name)
        strings = SharedStrings(by_pattern=by_pattern)
        if book.strings is not None:
            with opened(package, book.strings, name) as stream:
                strings = SharedStrings(
                    stream, f"{name}: the part {book.strings!r}", by_pattern=by_pattern
                )
        part = Part(package, book, found, strings, name, f"{name}, sheet {found.title!r}")
        yield check_worksheet(part, recipe, name, sha256)


def _choose_worksheet(book: Workbook, wanted: str | None, name: str) -> Found:
    titles = ", ".join(repr(found.title) for found in book.worksheets[:MAX_TITLES_SHOWN])
    if not book.worksheets:
        raise InputError(
            f"{name}: holds no worksheet that can be read; open it in Excel or LibreOffice "
            f"and save it as .xlsx"
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
