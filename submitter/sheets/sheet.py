"""A spreadsheet whose rows can be read, several times over."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import compress

from rowfleet.cells import Cell
from rowfleet.errors import InputError

#: Yields (position, cells) for the filled positions from the first number up to the second. The
#: cells are those of the given columns of the sheet, counted from 0.
Reader = Callable[[int, int, tuple[int, ...]], Generator[tuple[int, list[Cell]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """One checked sheet. ``open_sheet`` makes it; it can be read while that is open.

    Positions count the sheet's rows from 0 directly below the header, blank ones too.
    """

    name: str  #: The file, as errors name it.
    title: str  #: The sheet's name; a .csv file's is the file's.
    header: tuple[str, ...]
    formats: tuple[str, ...]  #: Number format of each column: of its first value, or "General".
    widths: tuple[float, ...] | None  #: In characters; None where the sheet says none.
    columns: dict[str, int]  #: What the recipe sends: its name for the model → index in ``header``.
    sha256: str  #: Of the file's bytes, in hex.
    filled: bytearray  #: One byte a position: 1 where the row holds a value.
    read: Reader
    header_row: int  #: The sheet row of the header, counted from 0; position 0 is the next one.
    sheet_columns: tuple[int, ...]  #: Sheet column of each name in ``header``, counted from 0.
    #: Answer columns that an earlier run has added: their header → their sheet column.
    answers: dict[str, int] = field(default_factory=dict)
    is_text: bool = False  #: A .csv file: it has no sheets, and its title says nothing.
    #: One byte a position, 1 where the sheet hides the row or a filter does; may be shorter. None:
    #: its format does not say.
    hidden: bytearray | None = field(default_factory=bytearray)
    #: What a person said about the header, as far as that is part of what is submitted.
    steered: tuple[str, ...] = ()
    mapped: tuple[str, ...] = ()  #: The names in ``columns`` that a person mapped.
    #: For names in ``columns`` the column's first merged range of several rows: `A5:A7`.
    merged: dict[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()  #: Titles of the workbook's other sheets.
    #: Positions of rows that the sheet's own tables call their rows of totals.
    table_totals: tuple[int, ...] = ()
    #: The last sheet column in use beside the header and the rows, counted from 0: answers get
    #: their place right of it.
    edge: int = -1

    @property
    def first_row(self) -> int:
        """The row of position 0 as a spreadsheet program numbers it, from 1."""
        return self.header_row + 2

    @property
    def where(self) -> str:
        """What sentences call it: the file, and the sheet of a workbook."""
        return self.name if self.is_text else f"{self.name}, sheet {self.title!r}"

    def rows(
        self, start_row: int = 0, num_rows: int | None = None
    ) -> Generator[tuple[int, list[Cell]]]:
        """Yield (position, cells) of each filled row in a range of positions.

        ``start_row`` is the first position; ``num_rows`` is how many positions, not how many filled
        rows, and may reach past the end. Raises InputError at once, as ``count`` does.
        """
        self.count(start_row, num_rows)
        return self.read(start_row, self._stop(start_row, num_rows), self.sheet_columns)

    def count(self, start_row: int = 0, num_rows: int | None = None) -> int:
        """Return how many rows ``rows`` yields for the same range, without reading anything.

        Raises InputError for a negative ``start_row``, a ``num_rows`` below 1, and a range without
        a row, which is told the last row there is.
        """
        if start_row < 0:
            raise InputError(f"--start-row {start_row}: rows are counted from 0")
        if num_rows is not None and num_rows < 1:
            raise InputError(f"--num-rows {num_rows}: must be at least 1")
        stop = self._stop(start_row, num_rows)
        count = self.filled.count(1, start_row, stop) if start_row < stop else 0
        if not count:
            asked = f"--start-row {start_row}" + (f" --num-rows {num_rows}" if num_rows else "")
            raise InputError(
                f"{self.where}: {asked} holds no row; the last is {len(self.filled) - 1}, which is "
                f"row {self.first_row + len(self.filled) - 1} of the sheet"
            )
        return count

    def drawn(
        self, count: int, seed: str, start_row: int = 0, num_rows: int | None = None
    ) -> list[int]:
        """Return the positions of ``count`` random rows of the range, or of all if it has less.

        The same ``seed`` draws the same. Raises InputError as ``count`` does.
        """
        total = self.count(start_row, num_rows)
        draw = random.Random(seed)  # noqa: S311 (not a secret: drawn again, it must be the same)
        chosen = set(draw.sample(range(total), min(count, total)))
        stop = self._stop(start_row, num_rows)
        filled = compress(range(start_row, stop), self.filled[start_row:stop])
        return [number for place, number in enumerate(filled) if place in chosen]

    def _stop(self, start_row: int, num_rows: int | None) -> int:
        end = len(self.filled)
        return end if num_rows is None else min(end, start_row + num_rows)


def pick(cells: list[Cell], indexes: tuple[int, ...]) -> list[Cell]:
    """Return the cells at the indexes, None where the row is shorter."""
    width = len(cells)
    return [cells[index] if index < width else None for index in indexes]


def below(filled: bytearray, first: int) -> bytearray:
    """Return the part of ``filled`` below the header, up to the last row that holds a value."""
    return filled[first : filled.rfind(1) + 1]
