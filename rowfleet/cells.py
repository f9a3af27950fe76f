"""A spreadsheet cell's value, and how the ledger writes it as JSON without losing its type.

Text, numbers, booleans and blanks are JSON already. What JSON lacks (dates, times, durations,
error cells) becomes an object with one key, so that `export` can give back a date as a date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class CellError:
    """An error value such as ``#REF!`` that a formula left in its cell."""

    code: str


Cell = bool | int | float | str | datetime | date | time | timedelta | CellError | None


def encode(cell: Cell) -> Any:
    """Return the JSON value the ledger stores for ``cell``."""
    if type(cell) is float:  # the most usual first
        # JSON has no infinite numbers and no NaN, and a sheet shows them so.
        return cell if isfinite(cell) else {"error": "#NUM!"}
    match cell:
        case None | bool() | int() | float() | str():
            return cell
        case datetime():  # before date: a datetime is one
            return {"datetime": cell.isoformat()}
        case date():
            return {"date": cell.isoformat()}
        case time():
            return {"time": cell.isoformat()}
        case timedelta():
            return {"seconds": cell.total_seconds()}
        case CellError():
            return {"error": cell.code}


#: Types of which every value is JSON as it is.
_JSON_TYPES = frozenset({str, int, bool, type(None)})


def encode_all(cells: Iterable[Cell]) -> list[Any]:
    """Return what ``encode`` gives for each cell, without a call for most of them."""
    return [cell if type(cell) in _JSON_TYPES else encode(cell) for cell in cells]


def decode(value: Any) -> Cell:
    """Return the cell that ``encode`` turned into ``value``."""
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # JSON's own scalars are cells
    ((kind, text),) = value.items()
    match kind:
        case "datetime":
            return datetime.fromisoformat(text)
        case "date":
            return date.fromisoformat(text)
        case "time":
            return time.fromisoformat(text)
        case "seconds":
            return timedelta(seconds=text)
        case "error":
            return CellError(text)
    raise ValueError(f"not an encoded cell: {value!r}")


def plain(cell: Cell) -> bool | int | float | str | None:
    """Return ``cell`` as a model should read it: ISO 8601 dates, error cells as their code.

    A datetime at midnight is how a spreadsheet stores a plain date, and is given as one.
    """
    match cell:
        case datetime():
            return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ")
        case date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case CellError():
            return cell.code
        case _:
            return cell


def sent(columns: Mapping[str, int], encoded: Sequence[Any]) -> dict[str, Cell]:
    """Return a row's cells by the names they are sent under; ``columns``: name → index."""
    return {
        name: decode(encoded[index]) if index < len(encoded) else None
        for name, index in columns.items()
    }
