"""The keys of lookups, as text: a cell, a property of an answer and a list's item may be one."""

from __future__ import annotations

import json
from typing import Any

from rowfleet.recipes.rules.arithmetic import DIGITS


def as_key(value: Any) -> str:
    """Return a value as a key: text without blanks around it, a number by its digits."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.{DIGITS}g}"
    return "" if value is None else json.dumps(value)
