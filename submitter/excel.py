"""What Excel allows: the bounds of a worksheet."""

from __future__ import annotations

from datetime import datetime

from openpyxl.utils import get_column_letter

#: Characters of one cell (1 MiB). Excel's own limit is 32,767; other programs write more.
MAX_CELL_CHARS = 1 << 20


def letter(column: int) -> str:
    """Return the letter of the column with this index, from 0."""
    return get_column_letter(column + 1)


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
