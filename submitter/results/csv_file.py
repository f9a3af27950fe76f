"""The finished sheet as a .csv file, for programs that read no workbooks.

A text that a spreadsheet program would take for a formula gets an apostrophe before it, as OWASP
advises (https://owasp.org/www-community/attacks/CSV_Injection): a .csv has no other way to say that
a text is one. So does one inside of a text, behind a semicolon, a tab or a line break: where Excel
divides by semicolons, a cell begins there, in spite of the quotes and whatever quotes follow. The
file begins with the mark of UTF-8, without which Excel takes it for an older encoding.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import IO

from rowfleet.cells import Cell, plain
from submitter.results.cell_xml import FORMULA_STARTS
from submitter.results.columns import Column, FinishedRow
from submitter.results.writer import finished_line, headers

#: Rows that are encoded at once.
WRITTEN_ROWS = 1_000

_STARTS = re.escape("".join(sorted(FORMULA_STARTS)))
_VISIBLE = re.escape("".join(sorted(start for start in FORMULA_STARTS if not start.isspace())))
_FORMULA = re.compile(rf'\A *(?=[{_STARTS}])|[;\t\r\n][ "]*(?=[{_VISIBLE}])')


def write_csv(
    file: IO[bytes],
    *,
    header: Sequence[str],
    result_headers: Mapping[str, str],
    added: Sequence[Column],
    rows: Iterable[FinishedRow],
) -> int:
    """Write ``rows`` into ``file`` in their order; return how many there were.

    The columns are those of ``write_sheet``. A cell is written as a model is sent it: a date as
    ISO 8601, and a number with its currency or unit where its format has one.
    """
    names = headers(header, [*result_headers.values(), *(column.header for column in added)])
    file.write(codecs.BOM_UTF8)
    lines = (finished_line(row, len(header), result_headers, added)[1] for row in rows)
    file.write(_encoded([names]))
    count = 0
    while chunk := list(islice(lines, WRITTEN_ROWS)):
        file.write(_encoded(chunk))
        count += len(chunk)
    return count


def _encoded(lines: Iterable[Sequence[Cell]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_field(cell) for cell in cells] for cells in lines)
    return text.getvalue().encode("utf-8", "replace")  # half of a surrogate pair is no text


def _field(cell: Cell) -> str | int | float | None:
    found = plain(cell)
    if isinstance(found, bool):
        return "TRUE" if found else "FALSE"
    if isinstance(found, str):
        return _FORMULA.sub(r"\g<0>'", found.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    return found
