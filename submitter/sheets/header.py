"""Which row of a sheet is its header, and which columns it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rowfleet.cells import Cell, plain
from rowfleet.errors import InputError, NoTable
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe
from submitter.excel import MAX_ROWS, letter
from submitter.sheets.column_maps import mapped

#: Filled rows among which the header is looked for: room for a title and a letterhead above it.
HEADER_SEARCH_ROWS = 25

#: The header of a table whose columns the recipe does not name has at least this part of the cells
#: of the fullest row near it; a title above it has fewer.
_WIDE = 0.5


@dataclass(frozen=True, slots=True)
class AnswerHeaders:
    """The headers of the columns that an earlier run of the same recipe added to a sheet."""

    #: Such a sheet has all of these,
    always: tuple[str, ...] = ()
    #: and any of these.
    perhaps: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.always, *self.perhaps)


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    """How a person steers what is read as the header."""

    #: The header's row as a spreadsheet program numbers it; None: it is looked for.
    row: int | None = None
    #: Each `HEADER=NAME`: the sheet's column of that header is the recipe's column of that name.
    maps: tuple[str, ...] = ()
    answers: AnswerHeaders = AnswerHeaders()

    @property
    def said(self) -> tuple[str, ...]:
        """What is steered, in the words of the command line."""
        row = () if self.row is None else (f"--header-row {self.row}",)
        return (*row, *(f"--map {text}" for text in self.maps))

    @property
    def search_rows(self) -> int:
        """How many filled rows from the top the header is among."""
        return max(HEADER_SEARCH_ROWS, self.row or 0)


#: Nothing is steered: the header is looked for.
LOOKED_FOR = HeaderOptions()


@dataclass(frozen=True, slots=True)
class Header:
    """The named columns. Rows and columns are the sheet's own, counted from 0."""

    row: int
    names: tuple[str, ...]
    indexes: tuple[int, ...]  #: Sheet column of each name.
    columns: dict[str, int]  #: As ``Recipe.match_columns`` gives it; the index is into ``names``.
    #: Answer columns that an earlier run has added: their own header, such as `AI_Status_2` → their
    #: sheet column.
    answers: dict[str, int] = field(default_factory=dict)
    #: The names in ``columns`` that a person mapped.
    mapped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderRow:
    """The row that is taken as the header, before it is known which columns hold data."""

    row: int
    width: int  #: How many cells it has, blank ones too.
    texts: Mapping[int, str]  #: Sheet column → text of its header, where there is one.
    options: HeaderOptions
    where: str

    def named(self, recipe: Recipe | None, first: Mapping[int, int]) -> Header:
        """Return the header with a name for each column that has a header or holds data.

        ``first`` gives the row of each column's first value below the header. A column without a
        header is called by its letter, and a second one of the same name gets a number.

        Raises InputError if there are no rows below, for required columns that are missing, and
        where two columns could be the one that the recipe sends.
        """
        if not first:
            raise NoTable(f"{self.where}: has a header in row {self.row + 1}, and no rows below it")
        answers = {} if recipe is None else answer_columns(self.texts, self.options.answers)
        indexes = sorted((self.texts.keys() | first.keys()) - set(answers.values()))
        if not indexes:
            raise InputError(f"{self.where}: has no columns but those of an earlier run's answers")
        names = _own_names([(index, self.texts.get(index, "")) for index in indexes])
        given: dict[str, int] = {}
        if recipe is None:
            columns = {name: index for index, name in enumerate(names)}
        else:
            given = mapped(self.options.maps, names, recipe)
            columns = recipe.match_columns(names, f"{self.where}, row {self.row + 1}", given)
            self._check_only_one(recipe, columns, given, indexes, names)
        # A person's own column of the same name is data: the answer goes by the number it has.
        called = {numbered(self.texts[index], names): index for index in answers.values()}
        return Header(self.row, names, tuple(indexes), columns, called, tuple(given))

    def _check_only_one(
        self,
        recipe: Recipe,
        columns: Mapping[str, int],
        given: dict[str, int],
        indexes: Sequence[int],
        names: Sequence[str],
    ) -> None:
        """Refuse a column of the recipe that two headers fit, unless a person said which it is."""
        if not recipe.columns:
            return
        alike: dict[str, list[int]] = {}
        for place, index in enumerate(indexes):
            alike.setdefault(fold(self.texts.get(index, "")), []).append(place)
        for name, place in columns.items():
            places = alike[fold(self.texts.get(indexes[place], ""))]
            if name not in given and len(places) > 1:
                text = self.texts[indexes[place]]
                listed = " and ".join(letter(indexes[each]) for each in places[:2])
                maps = " or ".join(f"--map {names[each] + '=' + name!r}" for each in places[:2])
                raise InputError(
                    f"{self.where}, row {self.row + 1}: the header {text!r} stands in columns "
                    f"{listed}; say which the recipe sends: {maps}"
                )


def choose_row(
    head: Sequence[tuple[int, list[Cell]]],
    recipe: Recipe | None,
    where: str,
    options: HeaderOptions = LOOKED_FOR,
) -> HeaderRow:
    """Return the header among ``head``, the sheet's first filled rows as (row, cells).

    It is the one that ``options`` say, else the first of those with the most of the recipe's
    columns, else the first that is about as wide as the table. Raises InputError, beginning with
    ``where``, for an empty sheet and a row that is not there.
    """
    if not head:
        raise NoTable(f"{where}: is empty")
    if options.row is not None:
        row, cells = _given(head, options.row, where)
    else:
        row, cells = _best(head, _wanted(recipe, options)) or _widest(head)
    texts = {index: text for index, cell in enumerate(cells) if (text := _text(cell))}
    return HeaderRow(row, len(cells), texts, options, where)


def _given(
    head: Sequence[tuple[int, list[Cell]]], number: int, where: str
) -> tuple[int, list[Cell]]:
    if not 1 <= number <= MAX_ROWS:
        raise InputError(f"--header-row {number}: rows are counted from 1, as the sheet shows them")
    for row, cells in head:
        if row == number - 1:
            return row, cells
    raise InputError(f"{where}: --header-row {number}: that row is empty")


def _wanted(recipe: Recipe | None, options: HeaderOptions) -> list[tuple[bool, set[str]]]:
    """Return whether each of the recipe's columns is required, and the names that it goes by."""
    given = {fold(text.rpartition("=")[2]): fold(text.rpartition("=")[0]) for text in options.maps}
    return [
        (
            column.required,
            {*map(fold, (column.name, *column.aliases)), given.get(fold(column.name), "")} - {""},
        )
        for column in (recipe.columns if recipe else ())
    ]


def _best(
    head: Sequence[tuple[int, list[Cell]]], wanted: Sequence[tuple[bool, set[str]]]
) -> tuple[int, list[Cell]] | None:
    """Return the first row with the most of the ``wanted`` columns, None where none has any.

    A row that has all required ones goes before one that has not.
    """
    best, most = None, (False, 0)
    for row, cells in head:
        texts = {fold(_text(cell)) for cell in cells}
        found = [bool(names & texts) for _, names in wanted]
        has_required = all(
            has or not required for has, (required, _) in zip(found, wanted, strict=True)
        )
        score = (has_required, sum(found))
        if any(found) and score > most:
            best, most = (row, cells), score
    return best


def _widest(head: Sequence[tuple[int, list[Cell]]]) -> tuple[int, list[Cell]]:
    """Return the first row if it is about as wide as the widest, else the first such row of text.

    A title above the table is narrower than the table.
    """
    widths = [sum(1 for cell in cells if _text(cell)) for _, cells in head]
    wide = [
        found for found, width in zip(head, widths, strict=True) if width >= _WIDE * max(widths)
    ]
    if wide[0] is head[0]:
        return head[0]
    return next((found for found in wide if _is_text(found[1])), wide[0])


def _is_text(cells: list[Cell]) -> bool:
    return all(isinstance(cell, str) for cell in cells if _text(cell))


def _text(cell: Cell) -> str:
    value = plain(cell)
    return "" if value is None else str(value).strip()


def answer_columns(texts: Mapping[int, str], known: AnswerHeaders) -> dict[str, int]:
    """Return the answer columns of an earlier run by the headers that they get.

    They are known by all the headers that such a run always writes. Of columns that a person's
    own, `Name`, made a run call `Name_2`, the last one is the answer.
    """
    if not known.always:
        return {}
    found = {
        header: index
        for header in (*known.always, *known.perhaps)
        if (index := _last_of(texts, header)) is not None
    }
    return found if all(header in found for header in known.always) else {}


def _last_of(texts: Mapping[int, str], header: str) -> int | None:
    pattern = re.compile(re.escape(header) + r"(?:_[0-9]{1,5})?")
    return max((index for index, text in texts.items() if pattern.fullmatch(text)), default=None)


def numbered(header: str, others: Iterable[str]) -> str:
    """Return the header, with the least number that makes it none of ``others``: `AI_Status_2`."""
    taken = {fold(name) for name in others}
    name, number = header, 1
    while fold(name) in taken:
        number += 1
        name = f"{header}_{number}"
    return name


def _own_names(texts: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Return a name of its own for each (column, header): `Column H`, `Amount`, `Amount_2`.

    Names that the recipe could not tell apart are the same: `Unit Price` and `unit_price`.
    """
    texts = list(texts)
    taken = {_folded(text) for _, text in texts if text}
    seen: set[str] = set()
    #: The number that a name got last; those below it are taken, too.
    numbers: dict[str, int] = {}
    names = []
    for index, text in texts:
        wanted = text or f"Column {letter(index)}"
        name, number = wanted, numbers.get(_folded(wanted), 1)
        while _folded(name) in seen or (name != text and _folded(name) in taken):
            number += 1
            name = f"{wanted}_{number}"
        numbers[_folded(wanted)] = number
        seen.add(_folded(name))
        names.append(name)
    return tuple(names)


def _folded(name: str) -> str:
    return fold(name) or name
