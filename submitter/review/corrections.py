"""A cell that a person wrote as a correction, as a value of the answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from rowfleet.cells import Cell, CellError, Value, plain, value

#: What a person writes where a value is to be null, and where a text is to be empty.
NULL, EMPTY = "null", '""'
#: How a list is written.
_EXAMPLE = '["first", "second"]'

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,3})?"
)
_NUMERIC = {"number", "integer"}


class NotAValueError(ValueError):
    """The cell can't be a value of the answer; the sentence says why."""


def corrected(cell: Cell, schema: Any) -> Any:
    """Return the value that a filled cell is by its property's JSON schema.

    Whether the value fits the schema in all else is not looked at. Raises NotAValueError for a cell
    of which no value of the schema's types can be made.
    """
    made = _made(value(cell), schema)
    try:
        json.dumps(made, allow_nan=False)
    except (ValueError, RecursionError):
        raise NotAValueError("the cell holds a number that is too large") from None
    return made


def _made(found: Value, schema: Any) -> Any:
    kinds = _kinds(schema)
    match found:
        case CellError():
            raise NotAValueError(f"the cell holds the error {found.code}")
        case bool():
            return (
                found if not kinds or "boolean" in kinds else _of_text(str(found).upper(), schema)
            )
        case int() | float():
            return _of_number(found, kinds)
        case date() | time() | timedelta():
            return _of_time(found, schema)
        case str():
            return _of_text(found, schema)
    return None


def _kinds(schema: Any) -> set[str]:
    """Return the JSON types that a schema names, none if it names none by itself."""
    if not isinstance(schema, Mapping):
        return set()
    kind = schema.get("type")
    if isinstance(kind, list):
        return {each for each in kind if isinstance(each, str)}
    return {kind} if isinstance(kind, str) else set()


def _of_number(found: float, kinds: set[str]) -> Any:
    whole = isinstance(found, int) or (math.isfinite(found) and found == int(found))
    if not kinds or kinds & _NUMERIC:
        # A spreadsheet has no integers of its own: 5 and 5.0 are the same number.
        return int(found) if whole else found
    if "string" in kinds:
        return str(int(found)) if whole else repr(found)
    raise NotAValueError(f"the number {found:g} is none of {_listed(kinds)}")


def _of_time(found: date | time | timedelta, schema: Any) -> str:
    if isinstance(found, datetime) and schema and schema.get("format") == "date-time":
        return found.isoformat()
    return str(plain(found))


def _of_text(text: str, schema: Any) -> Any:
    kinds = _kinds(schema)
    if text == NULL and "null" in kinds:
        return None
    listed = schema.get("enum") if isinstance(schema, Mapping) else None
    if isinstance(listed, list):
        for each in listed:
            if text == (each if isinstance(each, str) else json.dumps(each)):
                return each
    if not kinds or "string" in kinds:
        return "" if text == EMPTY else text
    folded = text.strip()
    if "boolean" in kinds and folded.casefold() in ("true", "false"):
        return folded.casefold() == "true"
    if kinds & _NUMERIC and _INTEGER.fullmatch(folded):
        return int(folded)
    if "number" in kinds and _NUMBER.fullmatch(folded):
        return float(folded)
    if kinds & {"array", "object"}:
        return _of_json(text)
    raise NotAValueError(f"{_shown(text)} is none of {_listed(kinds)}")


def _of_json(text: str) -> Any:
    def refused(name: str) -> Any:
        raise ValueError(name)

    try:
        found = json.loads(text, parse_constant=refused)
    except (ValueError, RecursionError):
        raise NotAValueError(f"{_shown(text)} is no JSON, such as {_EXAMPLE}") from None
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _listed(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds))
