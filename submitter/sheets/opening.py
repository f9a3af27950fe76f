"""Read a spreadsheet's rows as a stream, after everything that could go wrong was checked.

`open_sheet` does all the checking: when it has given a `Sheet`, reading the rows can't fail half
way, so nothing half-submitted stays behind. An .xlsx is walked twice, once by `scan` and once to
read it; a .csv likewise by `delimited`. Workbooks of other formats become an .xlsx first, by
`other_formats`. Rows in the form that nearly every program writes go through `plain_rows` and
`plain_values`, others through expat, ElementTree and `values`. With all checks, 100,000 x 15 cells
take a third of what openpyxl alone needs. Memory is the workbook's shared strings, kept small by
`shared_strings`.

What a sheet must look like:

- The header is the one of its first 25 filled rows that holds most of the recipe's columns, unless
  a person says which row it is. Titles above it do no harm.
- Every column that holds a value below the header has a name: its header, or one from its letter.
  Unnamed columns without data are dropped, and so are answer columns of an earlier run.
- A row without any value (blanks, spaces) is skipped, and keeps its number.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.excel import letter
from submitter.sheets import workbook
from submitter.sheets.header import LOOKED_FOR, HeaderOptions, HeaderRow, choose_row
from submitter.sheets.other_formats import delimited
from submitter.sheets.other_formats.converted import converted
from submitter.sheets.other_formats.kinds import OLE_MAGIC, check_compound, kind_of
from submitter.sheets.package import ZIP_MAGICS, open_package, opened
from submitter.sheets.shared_strings import SharedStrings
from submitter.sheets.sheet import Sheet, below, pick
from submitter.sheets.worksheet import Part, check_worksheet

#: Suffixes of text files that are read as comma-separated values.
CSV_SUFFIXES = (".csv", ".tsv", ".txt")


@contextmanager
def open_sheet(
    path: Path,
    sheet: str | None = None,
    *,
    recipe: Recipe | None = None,
    name: str | None = None,
    by_pattern: bool = True,
    header: HeaderOptions = LOOKED_FOR,
) -> Iterator[Sheet]:
    """Check a spreadsheet and give it as a ``Sheet``, readable until the ``with`` block ends.

    ``sheet`` names the worksheet; without it, it is the first visible one. ``recipe`` says which
    columns must be there; without it, every column is sent. ``name`` is what errors call the file.
    ``by_pattern`` is False where the XML parser is to read every row of a workbook. ``header``
    steers what is read as the header.

    Raises InputError for everything that could keep a row from being read later: see the module.
    """
    name = name or str(path)
    with _open_file(path, name) as file:
        magic = file.read(8)
        sha256 = hashlib.file_digest(_rewound(file), "sha256").hexdigest()
        _rewound(file)
        if magic.startswith((*ZIP_MAGICS, OLE_MAGIC)):
            with (
                _as_xlsx(file, magic, sheet, name) as xlsx,
                _open_workbook(
                    xlsx, sheet, recipe, name, sha256, header, by_pattern=by_pattern
                ) as opened,
            ):
                yield opened if xlsx is file else replace(opened, hidden=None)
        elif not magic:
            raise InputError(f"{name}: the file is empty")
        elif Path(name).suffix.lower() in CSV_SUFFIXES or path.suffix.lower() in CSV_SUFFIXES:
            if sheet is not None:
                raise InputError(f"{name}: a .csv file has no sheets, so not {sheet!r} either")
            yield _open_csv(file, recipe, name, sha256, header)
        else:
            raise InputError(
                f"{name}: not a spreadsheet; give an .xlsx, .xls, .xlsb, .ods or .csv file"
            )


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


def _open_csv(
    file: BufferedReader, recipe: Recipe | None, name: str, sha256: str, options: HeaderOptions
) -> Sheet:
    table = delimited.CsvTable(file, name)
    chosen = choose_row(table.head(options.search_rows), recipe, name, options)
    found = table.check(chosen.row)
    _check_width(found.first, chosen)
    header = chosen.named(recipe, found.first)
    first = header.row + 1

    def read(start: int, stop: int, columns: tuple[int, ...]) -> Generator[tuple[int, list[Cell]]]:
        for row, cells in table.rows(found, first + start, first + stop):
            yield row - first, pick(cells, columns)

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
        answers=header.answers,
        steered=options.said,
        mapped=header.mapped,
        is_text=True,
    )


def _check_width(first: Mapping[int, int], header: HeaderRow) -> None:
    """Refuse a row with more fields than the header: in a text file a quote is missing there."""
    beyond = sorted((row, column) for column, row in first.items() if column >= header.width)
    if beyond:
        row, column = beyond[0]
        raise InputError(
            f"{header.where}: row {row + 1} has more fields than the header in row "
            f"{header.row + 1}: {letter(column)}{row + 1} holds a value; put quotes around text "
            "that holds the separator"
        )


@contextmanager
def _as_xlsx(
    file: BufferedReader, magic: bytes, wanted: str | None, name: str
) -> Iterator[BinaryIO]:
    """Give a workbook as an .xlsx: as it is, or converted."""
    if magic == OLE_MAGIC:
        check_compound(file, name)
        kind: str | None = ".xls"
    else:
        kind = kind_of(open_package(file, name), name)
    if kind is None:
        yield file
        return
    with converted(file, kind, wanted, name) as xlsx:
        yield xlsx


@contextmanager
def _open_workbook(
    file: BinaryIO,
    wanted: str | None,
    recipe: Recipe | None,
    name: str,
    sha256: str,
    options: HeaderOptions,
    *,
    by_pattern: bool,
) -> Iterator[Sheet]:
    with open_package(file, name) as package:
        book = workbook.read(package, name)
        found = workbook.choose_worksheet(book, wanted, name)
        strings = SharedStrings(by_pattern=by_pattern)
        if book.strings is not None:
            with opened(package, book.strings, name) as stream:
                strings = SharedStrings(
                    stream, f"{name}: the part {book.strings!r}", by_pattern=by_pattern
                )
        part = Part(package, book, found, strings, name, f"{name}, sheet {found.title!r}")
        yield check_worksheet(part, recipe, name, sha256, options)
