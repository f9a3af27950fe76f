"""A spreadsheet cell's value, and how the ledger writes it as JSON without losing its type.

Text, numbers, booleans and blanks are JSON already. What JSON lacks (dates, times, durations,
error cells) becomes an object with one key, so that `export` can give back a date as a date.

The number formats of cells that carry one stand behind a row's cells, a list for each format: the
format, and the indexes of its cells. Workers of versions that know no such lists take no notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import isfinite
from typing import Any

from rowfleet import number_formats


@dataclass(frozen=True, slots=True)
class CellError:
    """An error value such as ``#REF!`` that a formula left in its cell."""

    code: str


Value = bool | int | float | str | datetime | date | time | timedelta | CellError | None


@dataclass(frozen=True, slots=True)
class Formatted:
    """A number, date, time or duration whose cell has a number format that must not be lost.

    It says more than digits (a currency, a percent sign), or it is not the format of the column.
    """

    value: int | float | datetime | date | time | timedelta
    format: str


Cell = Value | Formatted


def formatted(cell: Cell, code: str | None) -> Cell:
    """Return a number or date with the number format that it carries, another cell as it is."""
    if code is None or isinstance(cell, bool):
        return cell
    if isinstance(cell, (int, float, datetime, date, time, timedelta)):
        return Formatted(cell, code)
    return cell


def value(cell: Cell) -> Value:
    """Return a cell's value without its number format."""
    return cell.value if isinstance(cell, Formatted) else cell


def encode(cell: Cell) -> Any:
    """Return the JSON value the ledger stores for ``cell``; `encode_all` adds number formats."""
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
        case Formatted():
            return encode(cell.value)


#: Types of which every value is JSON as it is.
_JSON_TYPES = frozenset({str, int, bool, type(None)})


def encode_all(cells: Sequence[Cell]) -> list[Any]:
    """Return what ``encode`` gives for each cell, and behind that the number formats, if any."""
    encoded = [cell if type(cell) in _JSON_TYPES else encode(cell) for cell in cells]
    if Formatted in map(type, cells):
        places: dict[str, list[Any]] = {}
        for index, cell in enumerate(cells):
            if isinstance(cell, Formatted):
                places.setdefault(cell.format, [cell.format]).append(index)
        encoded.extend(places.values())
    return encoded


def decode_all(encoded: Sequence[Any]) -> list[Cell]:
    """Return the cells that ``encode_all`` encoded."""
    formats = formats_of(encoded)
    values = [decode(each) for each in encoded if not isinstance(each, list)]
    return [formatted(cell, formats.get(index)) for index, cell in enumerate(values)]


def formats_of(encoded: Sequence[Any]) -> dict[int, str]:
    """Return the number formats that an encoded row's cells carry, by the cells' indexes."""
    formats: dict[int, str] = {}
    for each in reversed(encoded):
        if not isinstance(each, list):
            break
        code, *indexes = each
        formats |= dict.fromkeys(indexes, code)
    return formats


def decode(value: Any) -> Value:
    """Return the value that ``encode`` turned into ``value``."""
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

    A datetime at midnight is how a spreadsheet stores a plain date, and is given as one. A number
    whose format says more than digits is given as a person sees it: `£102.00`.
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
        case Formatted(int() | float() as number, code):
            text = number_formats.shown(number, code)
            return number if text is None else text
        case Formatted():
            return plain(cell.value)
        case _:
            return cell


def sent(columns: Mapping[str, int], encoded: Sequence[Any]) -> dict[str, Value]:
    """Return a row's cells by the names they are sent under; ``columns``: name → index."""
    return {
        name: decode(encoded[index]) if index < len(encoded) else None
        for name, index in columns.items()
    }


def shown(columns: Mapping[str, int], encoded: Sequence[Any]) -> dict[str, str]:
    """Return, by the names they are sent under, what a person sees of a row's numbers.

    Only those are there whose number format says more than digits. A batch of an older version has
    none.
    """
    if not encoded or not isinstance(encoded[-1], list):
        return {}
    formats = formats_of(encoded)
    texts = {
        name: number_formats.shown(encoded[index], formats[index])
        for name, index in columns.items()
        if index in formats and isinstance(encoded[index], (int, float))
    }
    return {name: text for name, text in texts.items() if text is not None}
