"""Styles of the finished sheet's cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from openpyxl.styles.numbers import is_date_format, is_timedelta_format

#: Fill of a row by its status: orange where it failed, yellow where it has no end state or result.
_FILLS = {"done": None, "failed": "FCE4D6"}

_UNFINISHED_FILL = "FFF2CC"


def fill_of(status: str) -> str | None:
    """Return the colour that marks a row of this status, as RRGGBB; None if nothing does."""
    return _FILLS.get(status, _UNFINISHED_FILL)


class StyleBook(Protocol):
    """A workbook that numbers its cell styles."""

    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        """Return the id of that style."""
        ...


class ColumnStyles:
    """Style ids of one number format on one fill. A column may hold cells of several kinds, and a
    date shown in a text's format would be a bare number."""

    def __init__(
        self,
        book: StyleBook,
        number_format: str,
        fill: str | None,
        by_format: dict[str, ColumnStyles] | None = None,
    ) -> None:
        """``by_format`` are the styles of other number formats on the same fill, to share."""
        self._book = book
        self._by_format = {} if by_format is None else by_format
        self.fill = fill
        self.blank = self._style(number_format)
        dated = is_date_format(number_format)
        duration = is_timedelta_format(number_format)
        self.number = self._style("General") if dated or duration else self.blank
        self.date = self.blank if dated and not duration else self._style("yyyy-mm-dd")
        self.moment = self.blank if dated and not duration else self._style("yyyy-mm-dd hh:mm:ss")
        self.time = self.blank if dated and not duration else self._style("hh:mm:ss")
        self.duration = self.blank if duration else self._style("[h]:mm:ss")

    @cached_property
    def quoted(self) -> int:
        """The style of a text that Excel must not take for a formula."""
        return self._style("General", quoted=True)

    def of_format(self, number_format: str) -> ColumnStyles:
        """Return the styles of a cell with a number format of its own."""
        styles = self._by_format.get(number_format)
        if styles is None:
            styles = ColumnStyles(self._book, number_format, self.fill, self._by_format)
            self._by_format[number_format] = styles
        return styles

    def _style(self, number_format: str, *, quoted: bool = False) -> int:
        return self._book.style(number_format, self.fill, quoted=quoted)


class Styles:
    """The styles of every column, by a row's status."""

    def __init__(self, book: StyleBook, formats: Sequence[str]) -> None:
        self._book = book
        self._formats = formats
        self._by_fill: dict[str | None, list[ColumnStyles]] = {}
        self.header = book.style("General", "1F4E78", header=True)

    def of(self, status: str) -> list[ColumnStyles]:
        """Return a style set for each column."""
        fill = fill_of(status)
        if fill not in self._by_fill:
            made: dict[str, ColumnStyles] = {}
            for each in set(self._formats):
                made[each] = ColumnStyles(self._book, each, fill, made)
            self._by_fill[fill] = [made[each] for each in self._formats]
        return self._by_fill[fill]
