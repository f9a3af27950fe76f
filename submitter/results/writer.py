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

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import IO

from rowfleet.cells import Cell, Formatted
from rowfleet.errors import InputError
from rowfleet.number_formats import rendered
from rowfleet.recipes.names import fold
from submitter.excel import MAX_COLUMNS, MAX_ROWS
from submitter.results.answer_values import answer_cell
from submitter.results.columns import Column, FinishedRow
from submitter.results.styles import Styles
from submitter.results.workbook import Book
from submitter.sheets.worksheet import DEFAULT_WIDTH

#: Rows from which widths are taken where none are given, and the widths' bounds in characters.
SAMPLED_ROWS, MIN_WIDTH, MAX_WIDTH = 50, 9, 60
#: Characters that the longest name of a month or day has beyond its `mmmm` or `dddd`.
LONG_NAME = 5


def check_size(name: str, rows: int, header: Sequence[str], results: int) -> None:
    """Raise InputError, which names the sheet, unless its finished sheet fits into a worksheet.

    ``results`` is the number of columns beside the original ones.
    """
    if rows >= MAX_ROWS:
        most = MAX_ROWS - 1
        raise InputError(
            f"{name}: {rows:,} rows are more than the {most:,} that the finished sheet can hold "
            f"below its header; submit it in parts: --num-rows 1000000, then --start-row 1000000"
        )
    columns = len(header) + results
    if columns > MAX_COLUMNS:
        raise InputError(
            f"{name}: {len(header):,} columns and {columns - len(header):,} for the answers are "
            f"more than the {MAX_COLUMNS:,} that the finished sheet can hold; remove some columns"
        )


def write_sheet(
    file: IO[bytes],
    out: Path,
    *,
    title: str,
    header: Sequence[str],
    formats: Sequence[str],
    result_headers: Mapping[str, str],
    added: Sequence[Column],
    rows: Iterable[FinishedRow],
    widths: Sequence[float] | None = None,
) -> int:
    """Write ``rows`` into ``file`` in their order, without gaps; return how many there were.

    ``header``, ``formats`` and ``widths`` (characters) are the original columns';
    ``result_headers`` gives the header of each output property; the ``added`` columns stand behind
    those. Headers that the original columns have already get a number behind them. Raises
    InputError, which names the file ``out``, if a worksheet can't hold so many rows.
    """
    behind = [*result_headers.values(), *(column.header for column in added)]
    names = headers(header, behind)
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{out}: {len(names):,} columns are more than a worksheet's 16,384")
    lines = (finished_line(row, len(header), result_headers, added) for row in rows)
    sample = list(islice(lines, SAMPLED_ROWS))
    all_formats = [*formats, *["General"] * (len(names) - len(header))]
    found = _widths(names, all_formats, sample)
    # `nan` can stand in older ledgers, and compares false with anything.
    known = [min(width, 255) if width >= 1 else 1 for width in widths or ()]
    # A width that the sheet does not say is the program's own, and fits the cells by chance.
    for column, width in enumerate(known):
        if width != DEFAULT_WIDTH:
            found[column] = width
    book = Book(title, names, found)
    styles = Styles(book, all_formats)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        return book.write(package, styles, chain(sample, lines), out)


def headers(original: Sequence[str], behind: Sequence[str]) -> list[str]:
    """Return all headers; one ``behind`` that is taken gets a number."""
    names = list(original)
    taken = {fold(name) for name in names}
    for wanted in behind:
        name, number = wanted, 1
        while fold(name) in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(fold(name))
        names.append(name)
    return names


def finished_line(
    row: FinishedRow, width: int, result_headers: Mapping[str, str], added: Sequence[Column]
) -> tuple[str, list[Cell]]:
    """Return the row's status and all its cells."""
    output = row.values or {}
    cells = [*row.cells[:width], *[None] * (width - len(row.cells))]
    results = [answer_cell(output.get(key)) for key in result_headers]
    return row.status, [*cells, *results, *(column.value(row) for column in added)]


def _widths(
    names: Sequence[str], formats: Sequence[str], sample: Sequence[tuple[str, list[Cell]]]
) -> list[float]:
    longest = [len(name) + 3 for name in names]  # 3: the filter's button
    for _, cells in sample:
        for column, cell in enumerate(cells):
            longest[column] = max(longest[column], _length(cell, formats[column]) + 1)
    return [min(max(width, MIN_WIDTH), MAX_WIDTH) for width in longest]


def _length(cell: Cell, number_format: str) -> int:
    """Return about how many characters a cell shows. A number that does not fit is all `#`."""
    if isinstance(cell, Formatted):
        return _length(cell.value, cell.format)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        text = rendered(cell, number_format)
        return len(str(cell) if text is None else text)
    if isinstance(cell, date):  # 2: a `d` and an `m` may be two digits
        names = sum(LONG_NAME for part in ("mmmm", "dddd") if part in number_format)
        return max(len("yyyy-mm-dd"), len(number_format) + 2 + names)
    return len(cell) if isinstance(cell, str) else 0
