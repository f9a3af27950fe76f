"""A worksheet that is added to a workbook, written as XML from row to row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from html import escape
from typing import IO

from rowfleet.cells import Cell
from submitter.excel import letter
from submitter.results.cell_xml import FORMULA_STARTS, cell_xml, escaped, text_xml
from submitter.results.styles import ColumnStyles
from submitter.results.write_back.answer_cells import LONG_TEXT
from submitter.results.write_back.stylesheet import Stylesheet

#: Links of a sheet, at most: Excel's limit. Characters of a link's address: Excel's, too.
MAX_LINKS, MAX_ADDRESS = 65_530, 2_079
#: Characters of the values of a list, with the commas between them: Excel's limit.
MAX_LIST = 255
#: Colours of a header, and of the cells that a person is to fill in.
HEADER_FILL, INPUT_FILL = "DDEBF7", "FFF9E5"


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column of a new sheet."""

    header: str
    width: float = 12.0  #: In characters.
    is_input: bool = False  #: Whether a person fills it in.
    is_hidden: bool = False
    #: The only values that a cell may have, if they are listed.
    choices: tuple[str, ...] = ()

    @property
    def list_formula(self) -> str | None:
        """The choices as a data validation has them; None if it can't."""
        if not self.choices or any("," in each or '"' in each for each in self.choices):
            return None
        text = ",".join(self.choices)
        return f'"{text}"' if len(text) <= MAX_LIST else None


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of another sheet of the workbook that a link leads to."""

    sheet: str
    row: int  #: As a spreadsheet program numbers it.

    def __str__(self) -> str:
        quoted = self.sheet.replace("'", "''")
        return f"'{quoted}'!A{self.row}"


@dataclass(frozen=True, slots=True)
class Linked:
    """A cell that leads to a place of the workbook, or to an address."""

    value: Cell
    to: Place | str


@dataclass(frozen=True, slots=True)
class NewSheet:
    """A sheet that is added: its name, its columns, and its rows below the header."""

    title: str
    columns: Sequence[NewColumn]
    rows: Iterable[Sequence[Cell | Linked]]


@dataclass(frozen=True, slots=True)
class _Looks:
    """The stylesheet, for cells of one kind."""

    sheet: Stylesheet
    wrapped: bool = False
    font: str | None = None

    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        """See `StyleBook`."""
        return self.sheet.style(
            number_format, fill, quoted=quoted, wrapped=self.wrapped or header, font=self.font
        )


@dataclass(slots=True)
class SheetWriter:
    """Writes the XML of a new sheet, and collects the addresses that its links lead to."""

    sheet: NewSheet
    styles: Stylesheet
    epoch: datetime  #: The day that the workbook counts from.
    main: str  #: The namespace of the worksheet, and that of references to relations.
    references: str
    has_view: bool  #: Whether the workbook has a window, to which the sheet may say its look.
    addresses: list[str] = field(default_factory=list)  #: In the order of their relations.
    _links: list[str] = field(default_factory=list)
    _looks: dict[tuple[bool, bool, bool], ColumnStyles] = field(default_factory=dict)

    def write(self, part: IO[bytes]) -> int:
        """Write the whole part. Return how many rows there are below the header."""
        columns = self.sheet.columns
        letters = [letter(index) for index in range(len(columns))]
        part.write(self._head().encode())
        bold = _Looks(self.styles, wrapped=True, font="bold")
        cells = [
            text_xml(
                f"{at}1",
                bold.style("General", HEADER_FILL, quoted=column.header[:1] in FORMULA_STARTS),
                column.header,
            )
            for at, column in zip(letters, columns, strict=True)
        ]
        part.write(f'<row r="1" ht="30" customHeight="1">{"".join(cells)}</row>'.encode())
        number = 1
        for number, row in enumerate(self.sheet.rows, 2):
            cells = [
                self._cell(f"{at}{number}", cell, column)
                for at, cell, column in zip(letters, row, columns, strict=True)
            ]
            part.write(f'<row r="{number}">{"".join(cells)}</row>'.encode())
        part.write(self._tail(letters, number).encode())
        return number - 1

    def _head(self) -> str:
        hidden = {False: "", True: ' hidden="1"'}
        widths = "".join(
            f'<col min="{index}" max="{index}" width="{column.width:g}" customWidth="1"'
            f"{hidden[column.is_hidden]}/>"
            for index, column in enumerate(self.sheet.columns, 1)
        )
        frozen = (
            '<sheetViews><sheetView workbookViewId="0"><pane xSplit="1" ySplit="1" '
            'topLeftCell="B2" activePane="bottomRight" state="frozen"/></sheetView></sheetViews>'
        )
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            f'<worksheet xmlns="{self.main}" xmlns:r="{self.references}">'
            f"{frozen if self.has_view else ''}<cols>{widths}</cols><sheetData>"
        )

    def _cell(self, ref: str, cell: Cell | Linked, column: NewColumn) -> str:
        leads = False
        if isinstance(cell, Linked):
            leads = self._link(ref, cell.to)
            cell = cell.value
        is_long = isinstance(cell, str) and (len(cell) > LONG_TEXT or "\n" in cell)
        looks = self._look(column.is_input, is_long, leads)
        if cell is None:
            return f'<c r="{ref}" s="{looks.blank}"/>' if looks.fill else ""
        if not self.styles.is_there and isinstance(cell, (date, time, timedelta)):
            cell = str(cell)  # a number without a format would be no date
        return cell_xml(ref, cell, looks, self.epoch)

    def _look(self, is_input: bool, is_long: bool, leads: bool) -> ColumnStyles:
        key = (is_input, is_long, leads)
        if key not in self._looks:
            book = _Looks(self.styles, is_long, "link" if leads else None)
            self._looks[key] = ColumnStyles(book, "General", INPUT_FILL if is_input else None)
        return self._looks[key]

    def _link(self, ref: str, to: Place | str) -> bool:
        """Let the cell lead there; return whether it does."""
        if len(self._links) >= MAX_LINKS or len(str(to)) > MAX_ADDRESS:
            return False
        if isinstance(to, Place):
            place = _attribute(str(to))
            self._links.append(f'<hyperlink ref="{ref}" location="{place}"/>')
            return True
        self.addresses.append(to)
        self._links.append(f'<hyperlink ref="{ref}" r:id="rId{len(self.addresses)}"/>')
        return True

    def _tail(self, letters: Sequence[str], last: int) -> str:
        lists = [
            f'<dataValidation type="list" allowBlank="1" showErrorMessage="1" '
            f'sqref="{at}2:{at}{max(last, 2)}"><formula1>{escaped(column.list_formula)}</formula1>'
            "</dataValidation>"
            for at, column in zip(letters, self.sheet.columns, strict=True)
            if column.list_formula is not None
        ]
        validations = (
            f'<dataValidations count="{len(lists)}">{"".join(lists)}</dataValidations>'
            if lists
            else ""
        )
        links = f"<hyperlinks>{''.join(self._links)}</hyperlinks>" if self._links else ""
        covered = f"A1:{letters[-1]}{last}"
        return f'</sheetData><autoFilter ref="{covered}"/>{validations}{links}</worksheet>'

    def relations(self, namespace: str) -> str | None:
        """Return the XML of the part's relations to ``addresses``; None if it has none."""
        if not self.addresses:
            return None
        each = "".join(
            f'<Relationship Id="rId{number}" Type="{self.references}/hyperlink" '
            f'Target="{_attribute(address)}" TargetMode="External"/>'
            for number, address in enumerate(self.addresses, 1)
        )
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            f'<Relationships xmlns="{namespace}">{each}</Relationships>'
        )


def _attribute(text: str) -> str:
    return escape("".join(each for each in text if each.isprintable()))
