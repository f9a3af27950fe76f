"""Rows of totals, which people write below a table: found, so that nobody pays for an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import closing

from rowfleet.cells import Cell, plain, value
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.sheet import Sheet

#: What a cell of such a row holds, in English and German; a vendor may be called Total Energies, so
#: nothing but figures and punctuation may stand beside it.
_TOTAL = re.compile(
    r"(?:(?:grand |sub[- ]?)?totals?|sum|summe|gesamt(?:summe|betrag)?|zwischensumme|insgesamt)"
    r"[\W\d]*",
    re.IGNORECASE,
)
#: Characters of a cell that are looked at.
_LOOKED_AT = 40

#: Rows below the data that are looked at: a subtotal, a tax, a grand total.
MOST_TOTALS = 3

#: Rows that must stand above one that is known by its sums alone.
_LEAST_ROWS = 3

#: How far a sum may be from those of its column, as part of it: spreadsheets add doubles.
_ROUNDING = 1e-9


def below_the_data(sheet: Sheet, filled: bytearray, recipe: Recipe) -> tuple[tuple[int, str], ...]:
    """Return the positions of rows of totals at the end of ``filled``, each with its first text.

    Such a row holds numbers. The columns that identify a row are blank in it, and it says that it
    is one: by a word such as `Total`, and no other text, or by a number that is the sum of those
    above it.
    """
    found: list[tuple[int, str]] = []
    left = bytearray(filled)
    while len(found) < MOST_TOTALS:
        last = left.rfind(1)
        if last < 0 or left.find(1) == last:
            break
        cells = next([*map(value, cells)] for _, cells in sheet.rows(last, 1))
        if not (_says_so(sheet, recipe, cells) or _sums_up(sheet, recipe, left, last, cells)):
            break
        found.append((last, next((text for cell in cells if (text := _text(cell))), "")))
        left[last] = 0
    return tuple(reversed(found))


def _says_so(sheet: Sheet, recipe: Recipe, cells: Sequence[Cell]) -> bool:
    texts = [text for cell in cells if (text := _text(cell)) and not _is_number(cell, text)]
    has_numbers = any(_is_number(cell, _text(cell)) for cell in cells)
    identity = [cells[index] for index in _identity(sheet, recipe)]
    return (
        has_numbers
        and bool(texts)
        and all(_is_word(text) for text in texts)
        and all(not _text(cell) or _is_word(_text(cell)) for cell in identity)
    )


def _sums_up(
    sheet: Sheet, recipe: Recipe, filled: bytearray, last: int, cells: Sequence[Cell]
) -> bool:
    """Tell whether the row holds nothing but numbers, one of them the sum of those above it.

    Only where the columns are known that identify a row: one without them is no invoice.
    """
    identity = _identity(sheet, recipe)
    numbers = {
        index: float(cell)
        for index, cell in enumerate(cells)
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and cell
    }
    is_bare = all(not _text(cell) or index in numbers for index, cell in enumerate(cells))
    if not identity or not numbers or not is_bare or identity & numbers.keys():
        return False
    if filled.count(1) <= _LEAST_ROWS:
        return False
    parts: dict[int, list[float]] = {index: [] for index in numbers}
    first = filled.find(1)
    with closing(sheet.rows(first, last - first)) as rows:
        for number, above in rows:
            if filled[number]:
                for index, column in parts.items():
                    cell = value(above[index])
                    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
                        column.append(float(cell))
    return any(
        len(parts[index]) >= _LEAST_ROWS
        and math.isclose(math.fsum(parts[index]), total, rel_tol=_ROUNDING)
        for index, total in numbers.items()
    )


def _identity(sheet: Sheet, recipe: Recipe) -> set[int]:
    """Return the indexes of the columns that identify a row, as far as the sheet has them."""
    return {sheet.columns[name] for name in recipe.identity if name in sheet.columns}


def _text(cell: Cell) -> str:
    found = plain(cell)
    return "" if found is None else str(found).strip()


def _is_number(cell: Cell, text: str) -> bool:
    """Tell whether it is a number, or text that is one with its currency: `$1,200.00`."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return True
    return bool(text) and any(map(str.isdigit, text)) and not any(map(str.isalpha, text))


def _is_word(text: str) -> bool:
    return len(text) <= _LOOKED_AT and _TOTAL.fullmatch(text) is not None
