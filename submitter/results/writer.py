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

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from submitter.excel import MAX_COLUMNS, MAX_ROWS
from submitter.results.answer_values import answer_cell
from submitter.results.columns import Column, FinishedRow
from submitter.results.styles import Styles
from submitter.results.workbook import Book

#: Rows from which widths are taken where none are given, and the widths' bounds in characters.
SAMPLED_ROWS, MIN_WIDTH, MAX_WIDTH = 50, 9, 60


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
    names = _headers(header, behind)
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{out}: {len(names):,} columns are more than a worksheet's 16,384")
    lines = (_line(row, len(header), result_headers, added) for row in rows)
    sample = list(islice(lines, SAMPLED_ROWS))
    # `nan` can stand in older ledgers, and compares false with anything.
    known = [min(width, 255) if width >= 1 else 1 for width in widths or ()]
    book = Book(title, names, [*known, *_widths(names, sample)[len(known) :]])
    styles = Styles(book, [*formats, *["General"] * (len(names) - len(header))])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        return book.write(package, styles, chain(sample, lines), out)


def _headers(original: Sequence[str], behind: Sequence[str]) -> list[str]:
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


def _line(
    row: FinishedRow, width: int, result_headers: Mapping[str, str], added: Sequence[Column]
) -> tuple[str, list[Cell]]:
    """Return the row's status and all its cells."""
    output = row.output or {}
    cells = [*row.cells[:width], *[None] * (width - len(row.cells))]
    results = [answer_cell(output.get(key)) for key in result_headers]
    return row.status, [*cells, *results, *(column.value(row) for column in added)]


def _widths(names: Sequence[str], sample: Sequence[tuple[str, list[Cell]]]) -> list[float]:
    longest = [len(name) + 3 for name in names]  # 3: the filter's button
    for _, cells in sample:
        for column, cell in enumerate(cells):
            if isinstance(cell, str):
                longest[column] = max(longest[column], len(cell) + 1)
            elif isinstance(cell, date):
                longest[column] = max(longest[column], 11)
    return [min(max(width, MIN_WIDTH), MAX_WIDTH) for width in longest]
