"""The second walk through a worksheet: its rows with the answers in them."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rowfleet.errors import InputError
from submitter.excel import letter
from submitter.results.write_back.survey import Survey, cell_column, column_of, row_number
from submitter.results.write_back.xml_bytes import Edit, Walk, edited, local
from submitter.sheets.plain import plain_rows

_CELL_START = b'<c r="'
_LETTERS = re.compile(rb"[A-Z]+")
#: The columns that a row's cells are in, for programs that want to know it early.
_SPANS = re.compile(rb"""(\sspans\s*=\s*["'](?:[0-9]+:[0-9]+ +)*[0-9]+:)([0-9]{1,9})(?![0-9])""")


@dataclass(frozen=True, slots=True)
class NewCell:
    """A cell that is put into a row."""

    column: int
    xml: bytes
    #: Whether it is blank, and only takes the place of a cell that is there.
    only_replaces: bool = False


#: Row and its new cells, in the order of the sheet.
Rows = Iterator[tuple[int, Sequence[NewCell]]]


@dataclass(frozen=True, slots=True)
class OldCell:
    """A cell that is there: its column, and where it stands in its row."""

    column: int
    start: int
    end: int


class Out(Protocol):
    """A part that is written."""

    def write(self, xml: bytes, /) -> object:
        """Write more of it."""
        ...


class RowWriter:
    """Copies a worksheet part, with edits outside of its rows and new cells in them."""

    def __init__(
        self, out: Out, survey: Survey, edits: Sequence[Edit], rows: Rows, where: str
    ) -> None:
        self._out = out
        self._survey = survey
        self._edits = sorted(edits, key=_place)
        self._rows = rows
        self._where = where
        self._next = next(rows, None)
        self._walk = Walk(where, self._start, self._end)
        self._at = 0  #: Bytes that are copied of what is not plain rows.
        self._path: list[str] = []
        self._row = -1
        self._open: _OddRow | None = None

    def other(self, xml: bytes) -> None:
        """Copy XML that is not plain rows."""
        self._walk.feed(xml)
        until = self._walk.parsed if self._open is None else self._open.start
        self._copy(until)

    def run(self, run: bytes) -> None:
        """Copy plain rows."""
        if self._at != self._walk.fed:
            raise InputError(f"{self._where} can't be followed from tag to tag; save it in Excel")
        pieces = []
        for rest in run.split(plain_rows.ROW_START)[1:]:
            number = int(rest[: rest.index(b'"')]) - 1
            row = plain_rows.ROW_START + rest
            pieces.append(row if self._is_as_it_was(number) else _with_cells(row, self._taken()))
            self._row = number
        self._out.write(b"".join(pieces))

    def close(self) -> None:
        """Copy the rest. Raises InputError if there are answers for rows that did not come."""
        self._walk.close()
        self._copy(self._walk.fed)
        if self._next is not None:
            raise self._missing(self._next[0])

    def _is_as_it_was(self, number: int) -> bool:
        if self._next is None or number < self._next[0]:
            return True
        if number > self._next[0]:
            raise self._missing(self._next[0])
        return False

    def _missing(self, number: int) -> InputError:
        return InputError(
            f"{self._where} has no row {number + 1}, which was read from it; give the file that "
            f"was read with --source"
        )

    def _taken(self) -> Sequence[NewCell]:
        assert self._next is not None
        cells = self._next[1]
        self._next = next(self._rows, None)
        return cells

    def _copy(self, until: int) -> None:
        """Copy up to there, with the edits made."""
        while self._edits and self._edits[0].start <= until:
            edit = self._edits[0]
            if edit.end > until:
                until = edit.start
                break
            self._out.write(self._walk.taken(edit.start))
            self._walk.taken(edit.end)
            self._out.write(edit.new)
            self._edits.pop(0)
        self._out.write(self._walk.taken(until))
        self._at = until

    def _start(self, tag: str, attributes: dict[str, str], at: int) -> None:
        name, depth = local(tag), len(self._path)
        self._path.append(name)
        if self._path[1:2] != ["sheetData"]:
            return
        if depth == 2 and name == "row":
            self._row = row_number(attributes, self._row, self._where)
            if not self._is_as_it_was(self._row):
                self._open = _OddRow(at, self._walk.tag(at))
        elif depth == 3 and name == "c" and self._open is not None:
            self._open.column = cell_column(attributes, self._open.column, self._where)
            self._open.cell_start, self._open.cell_tag = at, self._walk.tag(at)

    def _end(self, _: str, at: int) -> None:
        name = self._path.pop()
        row, depth = self._open, len(self._path)
        if row is None or self._path[1:2] != ["sheetData"]:
            return
        if depth == 3 and name == "c":
            end = self._walk.end_of(row.cell_start, row.cell_tag, at)
            row.cells.append(OldCell(row.column, row.cell_start - row.start, end - row.start))
        elif depth == 2 and name == "row":
            end = self._walk.end_of(row.start, row.tag, at)
            raw = self._walk.kept(row.start, end)
            closing = None if row.tag.endswith(b"/>") else at - row.start
            new = spliced(raw, len(row.tag), closing, row.cells, self._taken())
            insort(self._edits, Edit(row.start, end, new), key=_place)
            self._open = None


class _OddRow:
    """A row that is not in the plain form, while it comes."""

    __slots__ = ("cell_start", "cell_tag", "cells", "column", "start", "tag")

    def __init__(self, start: int, tag: bytes) -> None:
        self.start = start
        self.tag = tag
        self.cells: list[OldCell] = []
        self.column = -1
        self.cell_start = 0
        self.cell_tag = b""


def _place(edit: Edit) -> tuple[int, int]:
    return edit.start, edit.end


def _with_cells(row: bytes, new: Sequence[NewCell]) -> bytes:
    """Return a plain row with new cells."""
    if not new:
        return row
    opened = row.index(b">") + 1
    if row.startswith(b"/", opened - 2):
        return spliced(row, opened, None, (), new)
    closing = end = row.rindex(b"</row>")
    # Only the cells from the first new one on matter, and mostly there are none.
    cells: list[OldCell] = []
    first = new[0].column
    while (start := row.rfind(_CELL_START, opened, end)) >= 0:
        letters = _LETTERS.match(row, start + len(_CELL_START))
        column = column_of(letters[0]) if letters else -1
        if column < first:
            break
        cells.insert(0, OldCell(column, start, end))
        end = start
    if cells:
        return spliced(row, opened, closing, cells, new)
    added = b"".join(cell.xml for cell in new if not cell.only_replaces)
    tag = _spanning(row[:opened], new[-1].column + 1) if added else row[:opened]
    return tag + row[opened:closing] + added + row[closing:]


def spliced(
    row: bytes,
    opened: int,
    closing: int | None,
    cells: Sequence[OldCell],
    new: Sequence[NewCell],
) -> bytes:
    """Return a raw row with new cells.

    ``opened`` is where its start tag ends, ``closing`` where its end tag begins (None if there is
    none), and ``cells`` are those it has from the first new column on, at least.
    """
    there = {cell.column: cell for cell in cells}
    behind = sorted(there)
    edits = []
    for cell in new:
        old = there.get(cell.column)
        if old is not None:
            edits.append(Edit(old.start, old.end, cell.xml))
        elif not cell.only_replaces:
            following = next((there[column] for column in behind if column > cell.column), None)
            at = following.start if following else closing if closing is not None else opened
            edits.append(Edit(at, at, cell.xml))
    if not edits:
        return row
    tag = _spanning(row[:opened], new[-1].column + 1)
    if closing is None:
        name = re.match(rb"<[^\s/>]*", tag)
        assert name is not None
        added = b"".join(edit.new for edit in edits)
        open_tag = tag[:-2].rstrip() + b">"
        return open_tag + added + b"</" + name[0][1:] + b">" + row[opened:]
    return tag + edited(row, edits)[opened:]


def _spanning(tag: bytes, last: int) -> bytes:
    return _SPANS.sub(lambda found: found[1] + b"%d" % max(int(found[2]), last), tag, count=1)


def blank_cell(column: int, row: int, style: int) -> str:
    """Return the XML of a cell that only has a style."""
    return f'<c r="{letter(column)}{row + 1}" s="{style}"/>'
