"""A cell's place and value, for rows of any form.

The check (`scan`) and the reading of a row call the same functions. So a cell that the
check has let through can be read, whatever stands in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from datetime import datetime
from itertools import chain, islice, product
from string import ascii_uppercase
from typing import Protocol
from xml.etree.ElementTree import Element

from openpyxl.utils.datetime import from_excel, from_ISO8601
from openpyxl.xml.constants import SHEET_MAIN_NS

from rowfleet import number_formats
from rowfleet.cells import Cell, CellError, formatted
from submitter.excel import MAX_COLUMNS, MAX_EXACT

ROW, CELL, VALUE, INLINE, RUN, TEXT = (
    f"{{{SHEET_MAIN_NS}}}{tag}" for tag in ("row", "c", "v", "is", "r", "t")
)

_COLUMN_INDEX = {
    "".join(letters): index
    for index, letters in enumerate(
        islice(chain(*(product(ascii_uppercase, repeat=n) for n in (1, 2, 3))), MAX_COLUMNS)
    )
}
#: Letters of a column's name.
_MAX_LETTERS = 3
#: Digits of a row's number or a style's, leading zeros included.
_MAX_DIGITS = 9
#: An escaped character of ST_Xstring (ECMA-376 part 1, 22.9.2.19): `_x000D_` is a carriage return,
#: and `_x005F_` the underscore of a text that would else be an escape.
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Error values as Excel writes them, such as `#DIV/0!`. Any other text in an error cell is text.
_ERROR = re.compile(r"#[A-Z0-9/!?_]{1,20}")


#: A boolean as XML has it.
_BOOLEANS = {"1": True, "0": False, "true": True, "false": False}


class Texts(Protocol):
    """Shared strings by their index."""

    def __getitem__(self, index: int) -> str: ...


def whole_number(text: str) -> int:
    """Return the number of a row or of a style. Raises ValueError for anything but a few digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ValueError(text[:20])
    return int(text)


def column_index(reference: str | None, row: str, previous: int) -> int:
    """Return the index of a cell's column from 0, or -1 if ``reference`` names none.

    ``row`` is the row's number as the file writes it. A cell without a reference stands right of
    the ``previous`` one. Some programs write `a1` for `A1`.
    """
    if not reference:
        return previous + 1
    if not reference.endswith(row):
        return -1
    letters = reference.removesuffix(row)
    index = _COLUMN_INDEX.get(letters)
    if index is None and letters.isascii() and len(letters) <= _MAX_LETTERS:
        index = _COLUMN_INDEX.get(letters.upper())
    return -1 if index is None else index


def style_number(text: str | None) -> int:
    """Return the number of a cell's style; 0 where the cell says none, or an empty one."""
    return whole_number(text) if text else 0


def unescape(text: str) -> str:
    """Return text as Excel means it, with the characters that XML can't hold.

    NUL and a half surrogate pair become U+FFFD: PostgreSQL's text can't hold them, and the
    character shows that something was there.
    """
    if "_x" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    if _SURROGATE.search(plain):
        plain = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)).replace("\0", "\N{REPLACEMENT CHARACTER}")


def number(text: str) -> int | float:
    """Return a numeric cell's value. Raises ValueError for text that is no finite number.

    Programs write a whole number as `1`, `1.0` or `1E0`, and saving a file anew changes which: it
    is an int each time.
    """
    value = real(text) if "." in text or "E" in text or "e" in text else int(text)
    if not math.isfinite(value):  # OverflowError for whole numbers beyond a double's range
        raise ValueError(text[:20])
    return value


def real(text: str | bytes) -> int | float:
    """Return the number that a text with a decimal point or an exponent means; whole ones as int.

    Raises ValueError for text that is no number.
    """
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < MAX_EXACT else value


def as_date(value: float, epoch: datetime, *, duration: bool) -> Cell:
    """Return the date, time or duration that a number shows, `#VALUE!` outside what one can be."""
    try:
        found: Cell = from_excel(value, epoch, timedelta=duration)
    except (OverflowError, ValueError):
        return CellError("#VALUE!")
    return found


def error(text: str) -> Cell:
    """Return what an error cell holds: the error, or text if that is no error."""
    return CellError(text) if _ERROR.fullmatch(text) else unescape(text)


def value(kind: str | None, text: str, strings: Texts) -> Cell:
    """Return the value of a cell whose XML says the type ``kind`` and holds ``text``.

    Numbers come as they are; ``as_date`` is for styles that show them as dates. Raises ValueError,
    LookupError or OverflowError for text that is no value of its type.
    """
    if not kind or kind == "n":
        return number(text)
    if kind == "s":
        index = int(text)
        if index < 0:
            raise IndexError(index)
        return strings[index]
    if kind == "b":
        return _BOOLEANS[text.strip()]
    if kind == "d":
        return from_ISO8601(text)  # type: ignore[no-any-return,no-untyped-call]  # untyped there
    return error(text) if kind == "e" else unescape(text)


#: What `value` raises for text that is no value of its type.
NO_VALUE = (ValueError, LookupError, OverflowError)


def unreadable(kind: str | None, text: str) -> Cell:
    """Return what stands for a cell whose text is no value of its type: the text as it is.

    No column that is sent has such a cell. The number of a shared string that is not there would
    pass as a value, so it becomes an error.
    """
    return CellError("#REF!") if kind == "s" else unescape(text)


def text_of(cell: Element) -> str:
    """Return the text by which a cell gives its value: of `v`, or of `is` without its phonetics.

    A cell that has both holds the last one.
    """
    pieces: list[str | None] = []
    for child in cell:
        if child.tag == VALUE:
            pieces = [child.text]
        elif child.tag == INLINE:
            pieces.clear()
            for part in child:
                if part.tag == TEXT:
                    pieces.append(part.text)
                elif part.tag == RUN:
                    pieces.extend(text.text for text in part if text.tag == TEXT)
    return "".join(piece or "" for piece in pieces)


#: Gives the number format that a cell of a column (from 0) and a style carries, if it does.
CarriedFormat = Callable[[int, int], str | None]


def carried_format(own: str, of_column: str) -> str | None:
    """Return the format ``own`` if cells of it carry it, None if that of their column is enough.

    A format that says more than digits is carried in any case: the cell says what it shows.
    """
    return own if own != of_column or number_formats.says_more(own) else None


class OddRows:
    """Converts checked rows from ElementTree's elements, one after the other."""

    def __init__(
        self,
        strings: Texts,
        *,
        epoch: datetime,
        dates: Collection[int],
        durations: Collection[int],
        carried: CarriedFormat,
    ) -> None:
        """``dates`` and ``durations`` are the styles that show numbers so."""
        self._strings = strings
        self._epoch = epoch
        self._dates = dates
        self._durations = durations
        self._carried = carried
        #: The number, from 1, of the last row; the next row is one further if it has none.
        self.last = 0

    def row(self, element: Element) -> tuple[int, list[Cell]]:
        """Return (sheet row from 0, cells up to the last that holds a value)."""
        row = element.get("r") or str(self.last + 1)
        self.last = whole_number(row)
        cells: list[Cell] = []
        column = -1
        for cell in element:
            if cell.tag == CELL:
                column = column_index(cell.get("r"), row, column)
                if text := text_of(cell):
                    cells.extend([None] * (column - len(cells)))
                    cells.append(self._value(cell, text, column))
        return self.last - 1, cells

    def _value(self, cell: Element, text: str, column: int) -> Cell:
        kind, style = cell.get("t"), style_number(cell.get("s"))
        try:
            found = value(kind, text, self._strings)
        except NO_VALUE:
            return unreadable(kind, text)
        if style in self._dates and isinstance(found, (int, float)) and kind in (None, "", "n"):
            found = as_date(found, self._epoch, duration=style in self._durations)
        return found if isinstance(found, str) else formatted(found, self._carried(column, style))
