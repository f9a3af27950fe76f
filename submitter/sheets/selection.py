"""Which rows of a sheet are taken, and in which order they are to run."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

from rowfleet.cells import Cell, plain, value
from rowfleet.errors import InputError
from rowfleet.recipes.expressions import Expression, Unjudged
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.header import numbered
from submitter.sheets.sheet import Sheet
from submitter.sheets.totals import BelowTheData, below_the_data

#: The two ways to treat rows that the sheet hides.
Hidden = Literal["include", "skip"]

#: How a person asks for the order from the largest value to the smallest, and the other way round.
DESCENDING, ASCENDING = "desc", "asc"


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows to take, as a person says it."""

    #: The first position, and how many positions, or all the rest.
    start_row: int = 0
    num_rows: int | None = None
    #: A condition in CEL; see `rowfleet.recipes.expressions`.
    where: str | None = None
    #: `COLUMN` or `COLUMN:desc`.
    order_by: str | None = None
    hidden: Hidden = "include"
    keep_totals: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that are taken, and what about that a person should know."""

    choice: Choice
    #: The sheet as if it held no other rows.
    sheet: Sheet
    #: For an order: each position's place in it. Positions that are not taken have none.
    ranks: Sequence[int] | None = None
    #: Hidden rows: those that are taken, or those of the range that are left out.
    hidden: int = 0
    #: Rows below the data: totals and rows of which nothing is sent are left out.
    below: BelowTheData = field(default_factory=BelowTheData)
    #: Rows to which the condition can't be applied, which are left out.
    unjudged: int = 0
    #: The first of them, and why.
    unjudged_row: int | None = None
    unjudged_reason: str = ""
    #: The column of the order and one of its cells, where that is a number in a person's eyes only.
    ordered_as_text: tuple[str, str] | None = None


def select(sheet: Sheet, choice: Choice, recipe: Recipe, answers: Sequence[str] = ()) -> Selection:
    """Return the rows of the sheet that are chosen.

    ``answers`` are headers of answer columns that a condition may name where the sheet has none
    yet: they are blank then. Raises InputError for a range, a condition or an order that can't be
    met, and where no row is left.
    """
    sheet.count(choice.start_row, choice.num_rows)
    start = choice.start_row
    stop = len(sheet.filled)
    if choice.num_rows is not None:
        stop = min(stop, start + choice.num_rows)
    filled = bytearray(sheet.filled)
    filled[:start] = bytes(start)
    del filled[stop:]
    if sheet.hidden is None and choice.hidden == "skip":
        raise InputError(
            f"{sheet.where}: --hidden skip: only an .xlsx says which rows are hidden; "
            "save it as .xlsx"
        )
    marked = sheet.hidden or b""
    hidden = [n for n in range(start, min(stop, len(marked))) if marked[n] & filled[n]]
    if choice.hidden == "skip":
        for number in hidden:
            filled[number] = 0
    found = BelowTheData() if choice.keep_totals else below_the_data(sheet, filled, recipe)
    for number in (*found.unsent, *(number for number, _ in found.totals)):
        filled[number] = 0
    selection = Selection(choice, _only(sheet, filled), hidden=len(hidden), below=found)
    if choice.where is not None:
        selection = _where(selection, choice.where, answers)
    if choice.hidden == "include":  # as far as the condition takes them
        left = selection.sheet.filled
        selection = replace(selection, hidden=sum(left[number] for number in hidden))
    if not any(selection.sheet.filled):
        raise InputError(f"{sheet.where}: {_nothing_left(selection)}")
    if choice.order_by is not None:
        ranks, as_text = _ranks(selection.sheet, choice.order_by)
        selection = replace(selection, ranks=ranks, ordered_as_text=as_text)
    return selection


def _only(sheet: Sheet, filled: bytearray) -> Sheet:
    """Return the sheet as if it held no rows but those that ``filled`` marks."""

    def read(start: int, stop: int, columns: tuple[int, ...]) -> Generator[tuple[int, list[Cell]]]:
        with closing(sheet.read(start, stop, columns)) as rows:
            yield from (row for row in rows if filled[row[0]])

    return sheet if filled == sheet.filled else replace(sheet, filled=filled, read=read)


def _nothing_left(selection: Selection) -> str:
    choice = selection.choice
    if choice.where is not None:
        sentence = f"no row meets --where {choice.where!r}"
        if selection.unjudged_row is not None:
            row = selection.sheet.first_row + selection.unjudged_row
            sentence += f"; {selection.unjudged:,} could not be judged, such as row {row}: "
            sentence += selection.unjudged_reason
        return sentence
    if choice.hidden == "skip":
        return "all rows are hidden, and --hidden skip leaves them out"
    return "the only row is one of totals; --keep-totals takes it"


def _where(selection: Selection, source: str, answers: Sequence[str]) -> Selection:
    sheet = selection.sheet
    names = [*sheet.header, *sheet.answers]
    places = [*sheet.sheet_columns, *sheet.answers.values()]
    if not sheet.answers:
        names += [numbered(name, sheet.header) for name in answers]
    else:
        names += [name for name in answers if name not in names]
    try:
        expression = Expression(source, names, sheet.columns)
    except InputError as error:
        raise InputError(f"--where: {error}") from None
    filled = bytearray(sheet.filled)
    # Answer columns that are not there yet have no place, and are blank.
    looked_at = [index for index in expression.indexes if index < len(places)]
    columns = tuple(places[index] for index in looked_at)
    judged = unjudged = 0
    first: tuple[int, str] | None = None
    with closing(sheet.read(0, len(filled), columns)) as rows:
        for number, cells in rows:
            try:
                holds = expression.holds(dict(zip(looked_at, cells, strict=True)))
            except Unjudged as reason:
                holds = False
                unjudged += 1
                if first is None:
                    text = str(reason)
                    if reason.column is not None:
                        cell = cells[looked_at.index(reason.column)]
                        text += f"; {names[reason.column]!r} is text such as {_shown(cell)!r}"
                    first = number, text
            except InputError as error:
                raise InputError(f"--where: row {sheet.first_row + number}: {error}") from None
            else:
                judged += 1
            if not holds:
                filled[number] = 0
    if first is not None and not judged:
        raise InputError(f"--where: can be applied to no row: {first[1]}")
    return replace(
        selection,
        sheet=_only(sheet, filled),
        unjudged=unjudged,
        unjudged_row=None if first is None else first[0],
        unjudged_reason="" if first is None else first[1],
    )


def _ranks(sheet: Sheet, order_by: str) -> tuple[Sequence[int], tuple[str, str] | None]:
    """Return the place of each position in the order, 0 for those that are not taken.

    The second value is that of `Selection.ordered_as_text`.

    Numbers go before text, and that before true and false; blank cells are the last in both
    directions. Equal rows keep the order of the sheet.
    """
    name, place, is_descending = _ordering(sheet, order_by)
    as_text: tuple[str, str] | None = None
    keys: list[tuple[tuple[int, float | str], int]] = []
    blank: list[int] = []
    with closing(sheet.read(0, len(sheet.filled), (place,))) as rows:
        for number, (cell,) in rows:
            key = _key(cell)
            if as_text is None and key is not None and key[0] == _TEXT:
                text = _shown(cell)
                as_text = (name, text) if _looks_like_a_number(text) else None
            if key is None:
                blank.append(number)
            else:
                keys.append((key, number))
    keys.sort(key=lambda pair: pair[0], reverse=is_descending)  # stable in both directions
    ranks = array("l", bytes(array("l").itemsize * len(sheet.filled)))
    for rank, number in enumerate([*(number for _, number in keys), *blank]):
        ranks[number] = rank
    return ranks, as_text


def _ordering(sheet: Sheet, order_by: str) -> tuple[str, int, bool]:
    """Return the column that orders the rows, its place, and whether from its largest value on.

    It is named by its header, or as the recipe calls it where no header is so.
    """
    headers = {
        **dict(zip(sheet.header, sheet.sheet_columns, strict=True)),
        **sheet.answers,
    }
    sent = {name: sheet.sheet_columns[index] for name, index in sheet.columns.items()}
    places = {**sent, **headers}
    folded = {fold(name): place for name, place in (*sent.items(), *reversed(headers.items()))}
    name, colon, direction = order_by.rpartition(":")
    ways = [(order_by, ASCENDING)]
    if colon and direction.strip().casefold() in (ASCENDING, DESCENDING):
        ways.append((name, direction.strip().casefold()))
    for wanted, way in ways:
        place = places.get(wanted.strip(), folded.get(fold(wanted)))
        if place is not None:
            return next(n for n, at in headers.items() if at == place), place, way == DESCENDING
    listed = ", ".join(list(headers)[:20])
    raise InputError(
        f"--order-by {order_by!r}: the header has no such column; write COLUMN or COLUMN:desc; "
        f"it has {listed}"
    )


#: Characters of a cell that a sentence shows.
_SHOWN = 24

#: What numbers go before in an order.
_TEXT = 1

#: Text that is a number for people: with the points and commas of their country, or a currency.
#: One that begins with 0 and is without them is an identifier.
_NUMBER = re.compile(
    r"[-+(]?(?:[A-Z]{3}\s|[^\w\s]\s?)?[-+]?"
    r"(?:[1-9]\d{0,14}|\d+(?:[.,'’\s]\d+)+)"
    r"(?:\s?(?:[A-Z]{3}|[^\w\s]))?\)?"
)


def _looks_like_a_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def _shown(cell: Cell) -> str:
    return str(plain(value(cell)))[:_SHOWN]


def _key(cell: Cell) -> tuple[int, float | str] | None:
    found = plain(value(cell))
    if isinstance(found, bool):
        return 2, float(found)
    if isinstance(found, str):
        return (_TEXT, found.casefold()) if found else None
    if found is None or math.isnan(found):
        return None
    return 0, float(found)
