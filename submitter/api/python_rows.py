"""Python's rows as a sheet, and back as what they came as."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rowfleet.cells import Cell, encode_all
from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.excel import MAX_CELL_CHARS
from submitter.sheets.header import AnswerHeaders, HeaderOptions, choose_row
from submitter.sheets.sheet import Sheet, pick

#: The number of the first row, as Python counts; sheets count theirs from 1, the header's.
FIRST_ROW = 0

#: What sentences, and the ledger, call rows that came from no file.
NAME = "rows"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as cells below a header."""

    header: tuple[str, ...]
    rows: list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Answers:
    """The columns that the rows get: their headers, and their values by a row's place."""

    headers: Sequence[str]
    values: Mapping[int, Sequence[Any]]

    def of(self, number: int) -> dict[str, Any]:
        """Return a row's values by the headers; a blank row has none."""
        values = self.values.get(number, [None] * len(self.headers))
        return dict(zip(self.headers, values, strict=True))


def of(rows: Any) -> Table:
    """Return a list of dicts, or a DataFrame, as cells. Raises InputError for anything else."""
    records = _records(rows)
    names = list(dict.fromkeys(name for record in records for name in record))
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{NAME}: a column is called {name!r}; give it a name, as text")
    cells = [
        [_cell(record.get(name), number, name) for name in names]
        for number, record in enumerate(records)
    ]
    return Table(tuple(names), cells)


def _records(rows: Any) -> Sequence[Mapping[Any, Any]]:
    found = rows.to_dict("records") if _is_frame(rows) else rows
    if not isinstance(found, Sequence) or not all(isinstance(each, Mapping) for each in found):
        raise InputError(f"{NAME}: pass a list of dicts or a pandas DataFrame")
    if not found:
        raise InputError(f"{NAME}: there are none")
    return found


def _is_frame(rows: Any) -> bool:
    return all(hasattr(rows, name) for name in ("columns", "to_dict", "assign"))


def _cell(value: Any, number: int, name: str) -> Cell:
    """Return a value as a cell. A missing one of pandas (`nan`, `NaT`, `NA`) is blank."""
    if value is None or _is_missing(value):
        return None
    if isinstance(value, str):
        if len(value) > MAX_CELL_CHARS:
            raise InputError(
                f"{NAME}, row {number}: {name!r} has more than {MAX_CELL_CHARS:,} characters"
            )
        # PostgreSQL's text can hold neither.
        plain = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if hasattr(value, "to_pydatetime"):  # pandas' own, which is one, too
        value = value.to_pydatetime()
    elif not isinstance(value, (date, time, timedelta)) and hasattr(value, "item"):
        value = value.item()  # a number of NumPy's
    if isinstance(value, (datetime, time)) and value.tzinfo is not None:
        return value.isoformat()  # a sheet has no time zones
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (bool, int, float, datetime, date, time, timedelta)):
        return value
    raise InputError(
        f"{NAME}, row {number}: {name!r} is of the type {type(value).__name__}; cells hold text, "
        "numbers, booleans, dates and times"
    )


def _is_missing(value: Any) -> bool:
    try:
        return bool(value != value)  # noqa: PLR0124 (so are `nan` and `NaT`, and nothing else)
    except (TypeError, ValueError):  # pandas' NA is neither
        return type(value).__name__ == "NAType"


def sheet(table: Table, recipe: Recipe, answers: AnswerHeaders) -> Sheet:
    """Return the rows as a checked sheet, for the recipe's columns.

    Columns of an earlier run's answers are left out, as they are in a sheet. Raises InputError as
    `HeaderRow.named` does.
    """
    chosen = choose_row([(0, list(table.header))], recipe, NAME, HeaderOptions(1, (), answers))
    filled = bytearray(any(map(_is_filled, cells)) for cells in table.rows)
    first = {
        column: 1 + number
        for column in range(len(table.header))
        if (number := _first(table.rows, column)) is not None
    }
    header = chosen.named(recipe, first)

    def read(start: int, stop: int, columns: tuple[int, ...]) -> Generator[tuple[int, list[Cell]]]:
        for number in range(start, min(stop, len(table.rows))):
            if filled[number]:
                yield number, pick(table.rows[number], columns)

    return Sheet(
        name=NAME,
        title=NAME,
        header=header.names,
        formats=("General",) * len(header.names),
        widths=None,
        columns=header.columns,
        sha256=_hash(table, header.indexes),
        filled=filled[: filled.rfind(1) + 1],
        read=read,
        header_row=FIRST_ROW - 2,
        sheet_columns=header.indexes,
        answers=header.answers,
        is_text=True,
    )


def _is_filled(cell: Cell) -> bool:
    return cell is not None and not (isinstance(cell, str) and not cell.strip())


def _first(rows: Sequence[Sequence[Cell]], column: int) -> int | None:
    return next((n for n, cells in enumerate(rows) if _is_filled(cells[column])), None)


def _hash(table: Table, indexes: tuple[int, ...]) -> str:
    """Return a hash of all but the answers of an earlier run."""
    hashed = hashlib.sha256(json.dumps(pick(list(table.header), indexes)).encode())
    for cells in table.rows:
        hashed.update(json.dumps(encode_all(pick(cells, indexes))).encode())
    return hashed.hexdigest()


def with_answers(rows: Any, table: Table, answers: Answers) -> Any:
    """Return ``rows`` as what they came as, with the answers as columns behind their own."""
    found = [answers.of(number) for number in range(len(table.rows))]
    if _is_frame(rows):
        return rows.assign(**{header: [row[header] for row in found] for header in answers.headers})
    return [{**row, **values} for row, values in zip(rows, found, strict=True)]
