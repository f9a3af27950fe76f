"""Ranges of cells as a workbook writes them: `A1:F100`, `$A$1:$F$100`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from openpyxl.utils import column_index_from_string

from submitter.excel import MAX_COLUMNS, MAX_ROWS, letter

_RANGE = re.compile(
    r"\$?([A-Za-z]{1,3})\$?([1-9][0-9]{0,6})(?::\$?([A-Za-z]{1,3})\$?([1-9][0-9]{0,6}))?"
)


@dataclass(frozen=True, slots=True)
class Range:
    """A range; rows and columns are counted from 0, the last ones belong to it."""

    top: int
    left: int
    bottom: int
    right: int

    def reaching(self, *, bottom: int = 0, right: int = 0) -> Range:
        """Return the range that goes on to a row and a column, where it does not reach them."""
        return replace(self, bottom=max(self.bottom, bottom), right=max(self.right, right))

    def __str__(self) -> str:
        first = f"{letter(self.left)}{self.top + 1}"
        last = f"{letter(self.right)}{self.bottom + 1}"
        return first if first == last else f"{first}:{last}"

    @property
    def absolute(self) -> str:
        """The range as a name refers to it."""
        return f"${letter(self.left)}${self.top + 1}:${letter(self.right)}${self.bottom + 1}"


def parse(text: str) -> Range | None:
    """Return the range that ``text`` names, None if it is not one of cells."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        return None
    left, top, right, bottom = found.groups()
    try:
        first, last = (
            column_index_from_string(letters.upper()) for letters in (left, right or left)
        )
    except ValueError:
        return None
    parsed = Range(int(top) - 1, first - 1, int(bottom or top) - 1, last - 1)
    fits = parsed.top <= parsed.bottom < MAX_ROWS and parsed.left <= parsed.right < MAX_COLUMNS
    return parsed if fits else None
