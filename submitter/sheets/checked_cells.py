"""Rows and cells of a worksheet, judged one after the other, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowfleet.errors import InputError
from submitter.excel import MAX_COLUMNS, MAX_ROWS
from submitter.sheets import values
from submitter.sheets.package import MEND
from submitter.sheets.shared_strings import SharedStrings


@dataclass(slots=True)
class Scan:
    """What a walk through one worksheet found. Rows and columns are indexes from 0."""

    #: One byte a sheet row, 1 where the row holds a value.
    filled: bytearray = field(default_factory=bytearray)
    #: The same, 1 where the row is hidden, by hand or by a filter; ends with the last such row.
    hidden: bytearray = field(default_factory=bytearray)
    #: Column → style id of its first value below the header.
    styles: dict[int, int] = field(default_factory=dict)
    #: Column → sheet row of its first value below the header.
    first: dict[int, int] = field(default_factory=dict)
    #: Column → sheet row of its first formula below the header that has no stored value.
    uncached: dict[int, int] = field(default_factory=dict)
    #: Column → sheet row of its first cell below the header that holds no value of its type, and
    #: the cell's text.
    unreadable: dict[int, tuple[int, str]] = field(default_factory=dict)
    #: Column → its first merged range of several rows below the header: that range's first sheet
    #: row, and the range as a spreadsheet program writes it.
    merged: dict[int, tuple[int, str]] = field(default_factory=dict)
    #: The last column of cells that are merged beside the header or the rows, -1 if none are.
    merged_edge: int = -1
    #: Column widths in characters, where the sheet says them.
    widths: dict[int, float] = field(default_factory=dict)
    #: The last rows as `LastRuns` keeps them, none where the last one is not in the plain form.
    last_runs: tuple[bytes, ...] = ()


#: A boolean attribute that is set: https://www.w3.org/TR/xmlschema-2/#boolean
_TRUE = ("1", "true")


class CheckedCells:
    """Judges rows and cells in the order of the file: their places, styles and values.

    The parser's handlers and the runs of plain rows both come here (`submitter.sheets.scan`). A
    cell is judged when the next one starts: end handlers cost a third.
    """

    __slots__ = (
        "below",
        "column",
        "filled",
        "formula",
        "found",
        "kind",
        "open",
        "row",
        "row_text",
        "strings",
        "style",
        "text",
        "valued",
        "where",
    )

    def __init__(self, strings: SharedStrings, where: str, below: int) -> None:
        self.strings = strings
        self.where = where
        self.below = below
        self.found = Scan()
        self.row = -1
        self.row_text = "0"
        self.column = -1
        #: Rows that hold a value.
        self.filled = 0
        #: Whether a cell is open; whether it has a formula, and a `v`.
        self.open = self.formula = self.valued = False
        self.kind: str | None = None
        self.style = 0
        self.text = ""

    def start_row(self, attributes: dict[str, str]) -> None:
        """Begin a row. Raises InputError for a number that is out of order."""
        self.row_text = attributes.get("r") or str(self.row + 2)
        try:
            row = values.whole_number(self.row_text) - 1
        except ValueError:
            row = -1
        if not self.row < row < MAX_ROWS:
            raise InputError(f"{self.where}: the row number {self.row_text[:20]!r} is out of order")
        self.found.filled.extend(bytes(max(0, row - len(self.found.filled) + 1)))
        if attributes.get("hidden") in _TRUE:
            self.hide(row)
        self.row = row
        self.column = -1

    def hide(self, row: int) -> None:
        """Remember a hidden row, which lies below those before."""
        hidden = self.found.hidden
        hidden.extend(bytes(row - len(hidden)))
        hidden.append(1)

    def start_cell(self, attributes: dict[str, str]) -> None:
        """Begin a cell. Raises InputError for a place that is out of order, or an odd style."""
        reference = attributes.get("r")
        column = values.column_index(reference, self.row_text, self.column)
        if not self.column < column < MAX_COLUMNS:
            shown = (reference or "")[:20]
            raise self.malformed(f"has the cell reference {shown!r} out of order")
        self.column = column
        self.kind = attributes.get("t")
        style = attributes.get("s")
        try:
            self.style = values.style_number(style)
        except ValueError:
            shown = (style or "")[:20]
            raise self.malformed(f"has a cell with the style {shown!r}") from None
        self.text = ""
        self.formula = self.valued = False
        self.open = True

    def end_cell(self) -> None:
        """Judge the cell that was read last."""
        if not self.open:
            return
        self.open = False
        found = self.found
        if not self.text or not self._holds_value():
            if self.formula and self.kind != "str" and self.row > self.below:
                found.uncached.setdefault(self.column, self.row)
            return
        if not found.filled[self.row]:
            found.filled[self.row] = 1
            self.filled += 1
        if self.row > self.below and self.column not in found.first:
            found.first[self.column] = self.row
            found.styles[self.column] = self.style

    def _holds_value(self) -> bool:
        """Return whether the cell holds a value, not blank; take note if it can't be read."""
        try:
            value = values.value(self.kind, self.text, self.strings)
        except values.NO_VALUE:
            if self.row > self.below:
                self.found.unreadable.setdefault(self.column, (self.row, self.text.strip()[:20]))
            value = values.unreadable(self.kind, self.text)
        return not isinstance(value, str) or bool(value and not value.isspace())

    def malformed(self, what: str) -> InputError:
        """Return the error that names the row at hand."""
        if self.row < 0:
            return InputError(f"{self.where}, above its rows: {what}; {MEND}")
        return InputError(f"{self.where}, row {self.row + 1}: {what}; {MEND}")
