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


#: LibreOffice shows TRUE and FALSE in this format, and 1 and 0 in `General`; to Excel it makes no
#: difference.
BOOLEAN_FORMAT = '"TRUE";"TRUE";"FALSE"'


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
        self._format = number_format
        self.fill = fill
        self.blank = self._style(number_format)
        self._is_date = bool(is_date_format(number_format))
        self._is_duration = bool(is_timedelta_format(number_format))

    @cached_property
    def number(self) -> int:
        """The style of a number that is no date."""
        return self._style("General") if self._is_date or self._is_duration else self.blank

    @cached_property
    def boolean(self) -> int:
        """The style of TRUE and FALSE."""
        return self._style(BOOLEAN_FORMAT) if self._format == "General" else self.blank

    @cached_property
    def date(self) -> int:
        """The style of a day."""
        return self._dated("yyyy-mm-dd")

    @cached_property
    def moment(self) -> int:
        """The style of a day and time."""
        return self._dated("yyyy-mm-dd hh:mm:ss")

    @cached_property
    def time(self) -> int:
        """The style of a time of day."""
        return self._dated("hh:mm:ss")

    @cached_property
    def duration(self) -> int:
        """The style of a duration."""
        return self.blank if self._is_duration else self._style("[h]:mm:ss")

    def _dated(self, number_format: str) -> int:
        is_moment = self._is_date and not self._is_duration
        return self.blank if is_moment else self._style(number_format)

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
