"""A worksheet of a workbook: its header, its rows and its checks."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from openpyxl.utils import range_boundaries
from openpyxl.xml.constants import SHEET_MAIN_NS

from rowfleet.cells import Cell
from rowfleet.errors import InputError, NoTable
from rowfleet.recipes.recipe import Recipe
from submitter.excel import MAX_ROWS, letter
from submitter.sheets import values
from submitter.sheets.checked_cells import Scan
from submitter.sheets.header import LOOKED_FOR, Header, HeaderOptions, choose_row
from submitter.sheets.package import MAX_WORKSHEET_BYTES, MEND, Members, opened
from submitter.sheets.plain import plain_rows
from submitter.sheets.plain.plain_values import PlainRows
from submitter.sheets.scan import scan as scan_
from submitter.sheets.shared_strings import SharedStrings
from submitter.sheets.sheet import Sheet, pick
from submitter.sheets.sheet import below as _below
from submitter.sheets.workbook import MAX_TITLES_SHOWN, Found, Workbook, relations_of, walk

#: Number formats at hand, by column and style; there are a few in a column.
FORMATS_AT_HAND = 5_000
#: How the type of a relation to a table ends.
_TABLE = "/table"
#: Excel's own width of a column, in characters.
DEFAULT_WIDTH = 8.43


@dataclass(frozen=True, slots=True)
class Part:
    """One worksheet's XML, and the two ways through it: the checking walk and the reading one."""

    package: zipfile.ZipFile
    book: Workbook
    found: Found
    strings: SharedStrings
    name: str
    where: str

    @property
    def others(self) -> tuple[str, ...]:
        """Titles of the workbook's other worksheets."""
        return tuple(other.title for other in self.book.worksheets if other.path != self.found.path)

    def scan(self, below: int, rows: int) -> Scan:
        """Walk the part; see `scan.scan`."""
        return scan_(
            self.package,
            self.found.path,
            self.strings,
            name=self.name,
            where=self.where,
            below=below,
            rows=rows,
        )

    def rows(
        self,
        filled: bytearray,
        indexes: tuple[int, ...] | None = None,
        styles: Mapping[int, int] | None = None,
    ) -> Iterator[tuple[int, list[Cell]]]:
        """Yield (sheet row from 0, cells) of the rows that ``filled`` marks.

        ``indexes`` picks the columns; without it all cells come, up to a row's last. ``styles``
        are the styles of the columns, by which cells carry number formats; without it none does.

        Rows in the plain form are converted by `plain_values`, all others by `values`.
        """
        book = self.book
        last = filled.rfind(1)
        carried = _no_format if styles is None else self._carried(styles)
        odd = values.OddRows(
            self.strings,
            epoch=book.epoch,
            dates=book.dates,
            durations=book.durations,
            carried=carried,
        )
        plain = None
        if indexes is not None:
            plain = self.strings.plain_rows()
            converter = self._plain(indexes, carried)
        elements = plain_rows.Elements(values.ROW, SHEET_DATA_TAG)
        with opened(self.package, self.found.path, self.name, MAX_WORKSHEET_BYTES) as stream:
            for other, run in plain_rows.split(stream, plain_rows.SHEET_DATA, plain, b"</row>"):
                for element in elements.of(other):
                    row, cells = odd.row(element)
                    if filled[row]:
                        yield row, pick(cells, indexes) if indexes else cells
                    if row >= last:
                        return  # what follows the rows is not ours, and may be odd
                if elements.over:
                    return
                if run:
                    yield from converter.rows(run, filled)
                    last_row = plain_rows.last_row(run)
                    if last_row > last:
                        return
                    odd.last = last_row

    def rows_of(
        self,
        runs: Sequence[bytes],
        filled: bytearray,
        indexes: tuple[int, ...],
        styles: Mapping[int, int],
    ) -> Iterator[tuple[int, list[Cell]]]:
        """Yield what `rows` does of rows that the check has kept, without unpacking the part."""
        converter = self._plain(indexes, self._carried(styles))
        for run in runs:
            yield from converter.rows(run, filled)

    def _plain(self, indexes: tuple[int, ...], carried: values.CarriedFormat) -> PlainRows:
        return PlainRows(
            indexes,
            self.strings,
            epoch=self.book.epoch,
            dates=self.book.dates,
            durations=self.book.durations,
            carried=carried,
        )

    def table_totals(self, columns: Collection[int]) -> set[int]:
        """Return the sheet rows of totals of the tables that hold all of those columns.

        Of a table only its first tag is read; one that is damaged has no such row.
        """
        found: set[int] = set()
        members = Members(self.package.namelist())
        folder, file = posixpath.split(self.found.path)
        with suppress(InputError):
            part = f"{folder}/_rels/{file}.rels"
            relations = relations_of(self.package, part, self.name, folder, members)
            targets = {target for target, kind in relations.values() if kind.endswith(_TABLE)}
            for member in filter(None, map(members.find, targets)):
                with suppress(InputError):
                    self._add_totals(member, columns, found)
        return found

    def _add_totals(self, member: str, columns: Collection[int], found: set[int]) -> None:
        def take(element: str, around: str, attributes: dict[str, str]) -> None:
            if around or element != "table" or attributes.get("totalsRowCount", "0") == "0":
                return
            with suppress(ValueError):
                left, _, right, bottom = range_boundaries(attributes.get("ref", ""))
                if left and right and bottom and left <= min(columns) + 1 and max(columns) < right:
                    found.add(bottom - 1)

        walk(self.package, member, self.name, take, whole=False)

    def _carried(self, styles: Mapping[int, int]) -> values.CarriedFormat:
        book = self.book

        @lru_cache(FORMATS_AT_HAND)
        def carried(column: int, style: int) -> str | None:
            of_column = book.number_format(styles.get(column, 0))
            return values.carried_format(book.number_format(style), of_column)

        return carried


def _no_format(_column: int, _style: int) -> None:
    """Let no cell carry a number format."""


def check_worksheet(
    part: Part,
    recipe: Recipe | None,
    name: str,
    sha256: str,
    options: HeaderOptions = LOOKED_FOR,
) -> Sheet:
    """Return the worksheet as a sheet. Raises InputError for all that can't be read later."""
    try:
        found, header = _table(part, recipe, options)
    except NoTable as error:
        raise InputError(f"{error}{_other_sheets(part)}") from None
    _check_sent(found, header, part.where)
    first = header.row + 1
    kept_from = plain_rows.first_row(found.last_runs[0]) if found.last_runs else MAX_ROWS + 1

    def read(start: int, stop: int, columns: tuple[int, ...]) -> Generator[tuple[int, list[Cell]]]:
        wanted = found.filled[: first + stop]
        wanted[: first + start] = bytes(first + start)
        if first + start + 1 >= kept_from:
            rows = part.rows_of(found.last_runs, wanted, columns, found.styles)
        else:
            rows = part.rows(wanted, columns, found.styles)
        for row, cells in rows:
            yield row - first, cells

    return Sheet(
        name=name,
        title=part.found.title,
        header=header.names,
        formats=tuple(
            part.book.number_format(found.styles.get(index, 0)) for index in header.indexes
        ),
        widths=_widths(found.widths, header.indexes),
        columns=header.columns,
        sha256=sha256,
        filled=_below(found.filled, first),
        read=read,
        header_row=header.row,
        sheet_columns=header.indexes,
        answers=header.answers,
        steered=options.said,
        mapped=header.mapped,
        hidden=found.hidden[first:],
        merged={
            name: found.merged[header.indexes[index]][1]
            for name, index in header.columns.items()
            if header.indexes[index] in found.merged
        },
        others=part.others,
        table_totals=tuple(row - first for row in part.table_totals(_sent(header)) if row >= first),
        edge=max((*header.indexes, *header.answers.values(), *found.uncached, found.merged_edge)),
    )


def _table(part: Part, recipe: Recipe | None, options: HeaderOptions) -> tuple[Scan, Header]:
    """Return what the worksheet holds, and its header."""
    head_scan = part.scan(below=-1, rows=options.search_rows)
    head = list(islice(part.rows(head_scan.filled), options.search_rows))
    chosen = choose_row(head, recipe, part.where, options)
    found = part.scan(below=chosen.row, rows=MAX_ROWS)
    return found, chosen.named(recipe, found.first)


def _other_sheets(part: Part) -> str:
    """Return the end of the sentence: which sheets may be meant where this one is a cover."""
    if not part.others:
        return ""
    titles = ", ".join(map(repr, part.others[:MAX_TITLES_SHOWN]))
    return f"; the workbook's other sheets: {titles}; choose one with --sheet"


def _widths(known: dict[int, float], indexes: tuple[int, ...]) -> tuple[float, ...] | None:
    return tuple(known.get(index, DEFAULT_WIDTH) for index in indexes) if known else None


def _sent(header: Header) -> set[int]:
    """Return the sheet columns that are sent."""
    return {header.indexes[index] for index in header.columns.values()}


def _check_sent(found: Scan, header: Header, where: str) -> None:
    """Refuse a column that is sent and has a cell that can't be read, or a formula without a value.

    In the other columns such cells do no harm.
    """
    sent = _sent(header)
    unreadable = sorted(
        (*found.unreadable[column], column) for column in found.unreadable.keys() & sent
    )
    if unreadable:
        row, text, column = unreadable[0]
        raise InputError(
            f"{where}, row {row + 1}: has no readable value in {letter(column)}{row + 1} "
            f"({text!r}); {MEND}"
        )
    cells = sorted((found.uncached[column], column) for column in found.uncached.keys() & sent)
    if cells:
        row, column = cells[0]
        raise InputError(
            f"{where}: the formula in {letter(column)}{row + 1} has no stored value; open the file "
            f"in Excel or LibreOffice and save it, so that values are stored"
        )


SHEET_DATA_TAG = f"{{{SHEET_MAIN_NS}}}sheetData"
