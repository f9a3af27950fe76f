"""Result columns that are computed, since a model errs at arithmetic."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from rowfleet.recipes.parts.base import Part
from rowfleet.recipes.rules.arithmetic import Rounding


class Computed(Part):
    """A value that is computed from the row's cells and the answer."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset({"value"})

    #: An expression in CEL over `row`, `answer` (with the fields computed before) and `lookups`.
    value: str
    #: Decimals of a number, and how it is rounded to them, once.
    decimals: int = Field(default=2, ge=0, le=9)
    rounding: Rounding = "half_up"


def valued(value: Any) -> Any:
    """Let a computed field be written as its expression alone."""
    return {"value": value} if isinstance(value, str) else value
