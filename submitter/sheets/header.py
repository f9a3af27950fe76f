"""Which row of a sheet is its header, and which columns it names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from openpyxl.utils import range_boundaries

from rowfleet.cells import Cell, plain
from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe
from submitter.excel import letter

#: Filled rows among which the header is looked for: room for a title and a letterhead above it.
HEADER_SEARCH_ROWS = 25


@dataclass(frozen=True, slots=True)
class Header:
    """The named columns. Rows and columns are the sheet's own, counted from 0."""

    row: int
    names: tuple[str, ...]
    indexes: tuple[int, ...]  #: Sheet column of each name.
    columns: dict[str, int]  #: As ``Recipe.match_columns`` gives it; the index is into ``names``.
    where: str

    def check_columns(self, first: Mapping[int, int], merged: Collection[str] = ()) -> None:
        """Raise InputError if there are no rows below, or a column that holds data has no name.

        ``first`` gives the row of each column's first value below the header, ``merged`` the
        sheet's merged ranges, which are often why a name is missing.
        """
        if not first:
            raise InputError(
                f"{self.where}: has a header in row {self.row + 1}, and no rows below it"
            )
        nameless = sorted(set(first) - set(self.indexes))
        if nameless:
            cell = f"{letter(nameless[0])}{first[nameless[0]] + 1}"
            letters = ", ".join(map(letter, nameless[:20]))
            raise InputError(
                f"{self.where}: the header in row {self.row + 1} has no name for the "
                f"column{'s' if len(nameless) > 1 else ''} {letters}"
                f"{self._merge_over(nameless[0], merged)}, where {cell} holds a value; "
                f"give every column with values a name of its own"
            )

    def _merge_over(self, column: int, merged: Collection[str]) -> str:
        for reference in merged:
            try:
                left, top, right, bottom = range_boundaries(reference)
            except (ValueError, TypeError):
                continue
            if not (left and top and right and bottom):
                continue
            if top - 1 <= self.row < bottom and left - 1 <= column < right:
                return f" ({reference} is merged)"
        return ""


def choose_header(
    head: Sequence[tuple[int, list[Cell]]], recipe: Recipe | None, where: str
) -> Header:
    """Return the header among ``head``, the sheet's first filled rows as (row, cells).

    Raises InputError, beginning with ``where``, for an empty sheet, a name that stands twice, and
    required columns that are missing.
    """
    if not head:
        raise InputError(f"{where}: is empty")
    row, cells = next((found for found in head if _holds_required(found[1], recipe)), head[0])
    named = [(index, text) for index, cell in enumerate(cells) if (text := _text(cell))]
    _refuse_duplicates(named, f"{where}, row {row + 1}")
    names = tuple(text for _, text in named)
    if recipe is None:
        columns = {name: index for index, name in enumerate(names)}
    else:
        columns = recipe.match_columns(names, where)
    return Header(row, names, tuple(index for index, _ in named), columns, where)


def _holds_required(cells: list[Cell], recipe: Recipe | None) -> bool:
    names = {fold(_text(cell)) for cell in cells}
    return all(
        any(fold(name) in names for name in (column.name, *column.aliases))
        for column in (recipe.columns if recipe else ())
        if column.required
    )


def _text(cell: Cell) -> str:
    value = plain(cell)
    return "" if value is None else str(value).strip()


def _refuse_duplicates(named: Sequence[tuple[int, str]], where: str) -> None:
    """Names that the recipe could not tell apart are duplicates: `Unit Price` and `unit_price`."""
    seen: dict[str, int] = {}
    for index, text in named:
        other = seen.setdefault(fold(text) or text, index)
        if other != index:
            raise InputError(
                f"{where}: the header {text!r} stands in columns {letter(other)} and "
                f"{letter(index)}; give each column a name of its own"
            )
