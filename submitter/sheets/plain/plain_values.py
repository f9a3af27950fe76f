"""The values in rows of the plain form, the same as `values` gives for rows of any form."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from functools import lru_cache, partial

from rowfleet.cells import Cell, formatted
from submitter.excel import letter
from submitter.sheets import values
from submitter.sheets.plain import plain_rows
from submitter.sheets.shared_strings import SharedStrings

_ATTRIBUTE = re.compile(rb' (s|t)="([^"]*)"')

#: Dates and texts at hand, for a sheet's repeat; of the texts those up to so many characters.
DATES_AT_HAND, TEXTS_AT_HAND, SHORT_TEXT = 5_000, 10_000, 200
#: Combinations of a cell's column and attributes at hand: of its kind and style, a few in a column.
ATTRIBUTES_AT_HAND = 5_000

Convert = Callable[[bytes], Cell]


class PlainRows:
    """Converts runs of plain rows."""

    def __init__(
        self,
        indexes: tuple[int, ...],
        strings: SharedStrings,
        *,
        epoch: datetime,
        dates: Collection[int],
        durations: Collection[int],
        carried: values.CarriedFormat,
    ) -> None:
        """``indexes`` are the columns to take; ``dates``, ``durations`` the styles that show so."""
        self._width = len(indexes)
        #: By a column's letters: its place among the picked ones, its index, and the converters of
        #: its cells by their attributes.
        self._columns: dict[bytes, tuple[int, int, dict[bytes, Convert]]] = {
            letter(column).encode(): (place, column, {}) for place, column in enumerate(indexes)
        }
        self._at_hand = 0
        self._strings = strings
        self._texts: dict[bytes, str] = {}
        self._date = lru_cache(DATES_AT_HAND)(self._as_date)
        self._epoch = epoch
        self._dates = dates
        self._durations = durations
        self._carried = carried

    def rows(self, run: bytes, wanted: bytearray) -> Iterator[tuple[int, list[Cell]]]:
        """Yield (sheet row from 0, picked cells) of the rows in ``run`` that ``wanted`` marks."""
        columns, end = self._columns, len(wanted)
        for row in run.split(plain_rows.ROW_START)[1:]:
            number = int(row[: row.index(b'"')]) - 1
            if number >= end:
                return
            if not wanted[number]:
                continue
            cells: list[Cell] = [None] * self._width
            for letters, attributes, raw in plain_rows.CELL.findall(row):
                found = columns.get(letters)
                if found is not None:
                    place, column, converters = found
                    convert = converters.get(attributes)
                    if convert is None:
                        convert = self._new_converter(converters, attributes, column)
                    cells[place] = convert(raw)
            yield number, cells

    def _new_converter(
        self, converters: dict[bytes, Convert], attributes: bytes, column: int
    ) -> Convert:
        if self._at_hand >= ATTRIBUTES_AT_HAND:
            for _, _, kept in self._columns.values():
                kept.clear()
            self._at_hand = 0
        self._at_hand += 1
        converters[attributes] = convert = self._converter(attributes, column)
        return convert

    def _converter(self, attributes: bytes, column: int) -> Convert:
        given = {name: value.decode() for name, value in _ATTRIBUTE.findall(attributes)}
        kind, style = given.get(b"t", "n"), int(given.get(b"s", 0))
        if kind == "s":
            return self._shared
        if kind == "b":
            return lambda raw: raw == b"1"
        if kind == "e":
            return lambda raw: values.error(raw.decode())
        if kind != "n":
            return lambda raw: values.unescape(plain_rows.text(raw))
        plain: Convert = _number
        if style in self._dates:
            plain = partial(self._date, duration=style in self._durations)
        code = self._carried(column, style)
        if code is None:
            return plain
        return lambda raw: formatted(plain(raw), code)

    def _shared(self, raw: bytes) -> str:
        text = self._texts.get(raw)
        if text is None:
            text = self._strings[int(raw)]
            if len(text) <= SHORT_TEXT:
                if len(self._texts) >= TEXTS_AT_HAND:
                    self._texts.clear()
                self._texts[raw] = text
        return text

    def _as_date(self, raw: bytes, duration: bool) -> Cell:
        return values.as_date(_number(raw), self._epoch, duration=duration)


def _number(raw: bytes) -> int | float:
    # As `values.number`. The plain form has finite numbers alone. Most have decimals: one look at
    # the double is enough for those.
    value = float(raw)
    if not value.is_integer():
        return value
    return values.real(raw) if b"." in raw or b"E" in raw or b"e" in raw else int(raw)
