"""An answer's values as cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from rowfleet.cells import Cell
from submitter.excel import MAX_EXACT


def answer_cell(value: Any, schema: Mapping[str, Any] | None = None) -> Cell:
    """Return a value from an answer's JSON as a cell that loses nothing of it.

    ``schema`` is that of the value: a text that it calls a date becomes one.
    """
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) > MAX_EXACT:
        return str(value)
    if isinstance(value, str) and schema is not None:
        return _dated(value, schema.get("format"))
    return value  # type: ignore[no-any-return]  # JSON's own scalars are cells


def _dated(text: str, format_: object) -> date | datetime | str:
    """Return the date that a text is; a moment with an offset stays text, since no cell has one."""
    try:
        if format_ == "date":
            return date.fromisoformat(text)
        if format_ == "date-time":
            moment = datetime.fromisoformat(text)
            return text if moment.tzinfo else moment
    except ValueError:
        pass
    return text
