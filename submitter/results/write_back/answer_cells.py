"""The cells that hold the answers: their places, values and looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from rowfleet.cells import Cell
from submitter.excel import letter
from submitter.results.cell_xml import FORMULA_STARTS, cell_xml, text_xml
from submitter.results.styles import ColumnStyles, fill_of
from submitter.results.write_back.rows import NewCell
from submitter.results.write_back.stylesheet import Stylesheet
from submitter.results.write_back.xml_bytes import prefixed

#: Characters of a text that fit into the widest column of answers; a longer text is wrapped.
LONG_TEXT = 60
#: Bounds of a new column's width, in characters.
MIN_WIDTH, MAX_WIDTH = 9, LONG_TEXT


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A row's answers."""

    row: int  #: Of the sheet, from 0.
    status: str  #: As in `FinishedRow`; rows that failed or have not ended are marked by a colour.
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A column of answers: its header, and where it is."""

    header: str
    column: int  #: Of the sheet, from 0.
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Book:
    """The stylesheet, for texts that are wrapped or for all the rest."""

    sheet: Stylesheet
    wrapped: bool

    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        """See `StyleBook`; the look of a header is never asked for here."""
        return self.sheet.style(number_format, fill, quoted=quoted, wrapped=self.wrapped)


class AnswerCells:
    """Makes the new cells of each row."""

    def __init__(
        self, columns: Iterable[AnswerColumn], sheet: Stylesheet, epoch: datetime, prefix: bytes
    ) -> None:
        """``epoch`` is the day that the workbook counts from, ``prefix`` that of its tags."""
        by_place = sorted(enumerate(columns), key=lambda each: each[1].column)
        #: Index of the answer, the column, its letters; from left to right.
        self._columns = [(index, each, letter(each.column)) for index, each in by_place]
        self._sheet = sheet
        self._epoch = epoch
        self._prefix = prefix
        self._styles: dict[tuple[str, bool], ColumnStyles] = {}

    def header(self, row: int, style: int) -> tuple[int, list[NewCell]]:
        """Return the header's row with the new headers, which look like the style."""
        return row, [
            self._cell(
                each.column,
                text_xml(
                    f"{letters}{row + 1}",
                    self._sheet.quoted(style) if each.header[:1] in FORMULA_STARTS else style,
                    each.header,
                ),
            )
            for _, each, letters in self._columns
            if each.is_new
        ]

    def of(self, rows: Iterable[AnsweredRow]) -> Iterator[tuple[int, list[NewCell]]]:
        """Yield each row with its new cells."""
        for row in rows:
            yield row.row, self._row(row)

    def _row(self, row: AnsweredRow) -> list[NewCell]:
        cells = []
        number = row.row + 1
        for index, each, letters in self._columns:
            value = row.cells[index]
            styles = self._styles_of(row.status, value)
            ref = f"{letters}{number}"
            if value is not None:
                if not self._sheet.is_there and isinstance(value, (date, time, timedelta)):
                    value = str(value)  # a number without a format would be no date
                cells.append(self._cell(each.column, cell_xml(ref, value, styles, self._epoch)))
            elif styles.fill or not each.is_new:
                blank = self._cell(each.column, f'<c r="{ref}" s="{styles.blank}"/>')
                cells.append(blank if styles.fill else NewCell(blank.column, blank.xml, True))
        return cells

    def _cell(self, column: int, xml: str) -> NewCell:
        return NewCell(column, prefixed(xml, self._prefix))

    def _styles_of(self, status: str, value: Cell) -> ColumnStyles:
        key = status, isinstance(value, str) and (len(value) > LONG_TEXT or "\n" in value)
        if key not in self._styles:
            self._styles[key] = ColumnStyles(
                _Book(self._sheet, wrapped=key[1]), "General", fill_of(status)
            )
        return self._styles[key]


def widths(
    columns: Sequence[AnswerColumn], sample: Sequence[AnsweredRow]
) -> list[tuple[int, float]]:
    """Return the new columns with a width in characters, from the header and some of the rows."""
    found = []
    for index, each in enumerate(columns):
        if each.is_new:
            longest = [len(each.header) + 3, *(_length(row.cells[index]) for row in sample)]
            found.append((each.column, float(min(max(MIN_WIDTH, *longest), MAX_WIDTH))))
    return found


def _length(cell: Cell) -> int:
    if isinstance(cell, str):
        return max(map(len, cell.split("\n"))) + 1
    return 11 if isinstance(cell, date) else len(str(cell)) + 1
