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
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from submitter.excel import MAX_COLUMNS, MAX_EXACT, MAX_ROWS
from submitter.results.columns import Column, FinishedRow
from submitter.results.styles import Styles
from submitter.results.workbook import Book

#: Rows from which widths are taken where none are given, and the widths' bounds in characters.
SAMPLED_ROWS, MIN_WIDTH, MAX_WIDTH = 50, 9, 60


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
    """Write ``rows`` to ``out`` in their order, without gaps, and return how many there were.

    ``header``, ``formats`` and ``widths`` (characters) are the original columns';
    ``result_headers`` gives the header of each output property; the ``added`` columns stand behind
    those. Headers that the original columns have already get a number behind them. ``out`` appears
    whole, or stays as it was if anything is raised. Raises InputError if it can't be written, or a
    worksheet can't hold so many rows.
    """
    check_target(out)
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
    with _atomic(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
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
    results = [_result(output.get(key)) for key in result_headers]
    return row.status, [*cells, *results, *(column.value(row) for column in added)]


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
