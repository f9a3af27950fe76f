"""Rows of totals, which people write below a table, and which are rows like all others."""

from __future__ import annotations

import re

from rowfleet.cells import plain
from submitter.sheets.sheet import Sheet

#: What the first filled cell of such a row holds, in English and German; a vendor may be called
#: Total Energies, so nothing but figures and punctuation may stand beside it.
_TOTAL = re.compile(
    r"(?:(?:grand |sub[- ]?)?totals?|sum|summe|gesamt(?:summe|betrag)?|zwischensumme|insgesamt)"
    r"[\W\d]*",
    re.IGNORECASE,
)
#: Characters of a cell that are looked at and shown.
_LOOKED_AT = 40


def last_row(sheet: Sheet, start_row: int, num_rows: int | None) -> tuple[int, str] | None:
    """Return number and first text of the range's last row if it looks like one of totals.

    Only cells that are sent count.
    """
    stop = len(sheet.filled) if num_rows is None else start_row + num_rows
    last = sheet.filled.rfind(1, start_row, stop)
    for number, cells in sheet.rows(last, 1):
        for index in sorted(sheet.columns.values()):
            text = str(plain(cells[index]) or "").strip()
            if text:
                looks_so = len(text) <= _LOOKED_AT and _TOTAL.fullmatch(text)
                return (number, text) if looks_so and number > start_row else None
    return None
