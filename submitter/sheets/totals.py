"""Rows that people write below a table, such as totals: found, so that no answer is paid for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from rowfleet.cells import Cell, plain, value
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.sheet import Sheet

#: A word of a row of totals, in English and German, with what may stand around it. A vendor may be
#: called Total Energies, so nothing but these, figures and punctuation may stand beside it.
_KIND = r"(?:grand|net|gross|overall|sub)[- ]?"
_WHICH = r"(?:amount|due|net|gross|netto|brutto)"
_CURRENCY = r"(?:EUR|USD|GBP|CHF|AUD|CAD|CNY|CZK|DKK|HKD|INR|JPY|NOK|NZD|PLN|SEK|SGD|ZAR|euros?)"
_TOTAL = re.compile(
    rf"(?:(?:{_KIND})?totals?|sum|summe|gesamt(?:summe|betrag)?|zwischensumme|insgesamt)"
    rf"(?:[\W\d]+(?:{_WHICH}|{_CURRENCY}))*[\W\d]*",
    re.IGNORECASE,
)
#: A word of a row that stands beside one of totals, and is none by itself.
_TAX = re.compile(
    rf"(?:\d+[.,]?\d* ?% )?(?:VAT|GST|(?:sales )?tax|MwSt|USt|Mehrwertsteuer|Umsatzsteuer)"
    rf"(?:[\W\d]+{_CURRENCY})?[\W\d]*",
    re.IGNORECASE,
)
#: Characters of a cell that are looked at.
_LOOKED_AT = 40

#: Rows of totals below the data: subtotals, taxes, a grand total.
MOST_TOTALS = 5

#: Rows of notes below those.
MOST_NOTES = 5

#: Rows that must stand above one that is known by its sums alone.
_LEAST_ROWS = 3

#: How far a sum may be from those of its column, as part of it: spreadsheets add doubles.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class BelowTheData:
    """Rows at the end of a sheet that are no data, by their positions, ascending."""

    #: Rows of totals, each with its first text.
    totals: tuple[tuple[int, str], ...] = ()
    #: Rows without a value in any column that is sent.
    unsent: tuple[int, ...] = ()
    #: Rows with a text alone below those of totals. They may be data.
    notes: tuple[int, ...] = ()


def below_the_data(sheet: Sheet, filled: bytearray, recipe: Recipe) -> BelowTheData:
    """Return what stands below the data at the end of ``filled``.

    A row of totals holds numbers. The columns that identify a row are blank in it, and it says that
    it is one: by a word such as `Total`, and no other text, or by a number that is the sum of those
    above it. A row that names a tax is one beside such a row. A row that a table of the sheet calls
    its row of totals is one, whatever it holds.
    """
    left = bytearray(filled)
    of_tables = _of_tables(sheet, left)
    last = _last(sheet, left, MOST_TOTALS + MOST_NOTES)
    unsent: tuple[int, ...] = ()
    if len(filled) == len(sheet.filled) and last and not _is_sent(sheet, last[-1][1]):
        unsent = _unsent(sheet, left)
        for number in unsent:
            left[number] = 0
        last = _last(sheet, left, MOST_TOTALS + MOST_NOTES)
    totals: list[tuple[int, str]] = []
    taxes: list[tuple[int, str]] = []  # above no row of totals that was found so far
    notes: list[int] = []
    for number, cells in reversed(last):
        if left.find(1) == number or len(totals) + len(taxes) == MOST_TOTALS:
            break
        texts = [text for cell in cells if (text := _text(cell))]
        found = (number, texts[0] if texts else "")
        if _says_so(sheet, recipe, cells, _TOTAL) or _sums_up(sheet, recipe, left, number, cells):
            totals += [*taxes, found]
            taxes = []
        elif _says_so(sheet, recipe, cells, _TAX):
            (totals if totals else taxes).append(found)
        elif len(texts) == 1 and not totals and not taxes and len(notes) < MOST_NOTES:
            if any(map(_is_numeric, cells)):
                break
            notes.append(number)
        else:
            break
        left[number] = 0
    totals += of_tables
    return BelowTheData(tuple(sorted(totals)), unsent, tuple(reversed(notes)) if totals else ())


def _of_tables(sheet: Sheet, left: bytearray) -> list[tuple[int, str]]:
    """Take the rows of totals of the sheet's tables out of ``left``; return each with a text."""
    found = []
    for number in sheet.table_totals:
        if number < len(left) and left[number] and left.count(1) > 1:
            left[number] = 0
            with closing(sheet.rows(number, 1)) as rows:
                texts = [text for _, cells in rows for cell in cells if (text := _text(cell))]
            found.append((number, texts[0] if texts else ""))
    return found


def _unsent(sheet: Sheet, filled: bytearray) -> tuple[int, ...]:
    """Return the last rows that hold nothing in a column that is sent; none if all are such."""
    count, total = MOST_TOTALS, filled.count(1)
    while True:
        found: list[int] = []
        for number, cells in reversed(_last(sheet, filled, count)):
            if _is_sent(sheet, cells):
                return tuple(reversed(found))
            found.append(number)
        if count >= total:
            return ()
        count *= 8


def _is_sent(sheet: Sheet, cells: Sequence[Cell]) -> bool:
    return any(_text(cells[index]) for index in sheet.columns.values())


def _last(sheet: Sheet, filled: bytearray, count: int) -> list[tuple[int, list[Cell]]]:
    """Return the last ``count`` of the filled rows, or all if there are fewer."""
    first = stop = len(filled)
    for _ in range(count):
        first = max(filled.rfind(1, 0, first), 0)
    with closing(sheet.rows(first, stop - first)) as rows:
        return [(number, [*map(value, cells)]) for number, cells in rows if filled[number]]


def _says_so(sheet: Sheet, recipe: Recipe, cells: Sequence[Cell], word: re.Pattern[str]) -> bool:
    texts = [text for cell in cells if (text := _text(cell)) and not _is_number(cell, text)]
    has_numbers = any(_is_number(cell, _text(cell)) for cell in cells)
    identity = [cells[index] for index in _identity(sheet, recipe)]
    return (
        has_numbers
        and bool(texts)
        and all(_is(word, text) for text in texts)
        and all(not _text(cell) or _is(word, _text(cell)) for cell in identity)
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


def _is_numeric(cell: Cell) -> bool:
    return _is_number(cell, _text(cell))


def _is(word: re.Pattern[str], text: str) -> bool:
    return len(text) <= _LOOKED_AT and word.fullmatch(text) is not None
