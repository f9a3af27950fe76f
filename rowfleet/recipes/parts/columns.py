"""The columns of the sheet that a recipe sends."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from rowfleet.recipes.parts.base import Part


class Column(Part):
    """A column that is sent to the analyzer under ``name``, found by its name or an alias."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset({"name", "required", "aliases"})

    name: str = Field(min_length=1)
    required: bool = True
    aliases: tuple[str, ...] = ()


def named(value: Any) -> Any:
    """Let a column be written as its name alone."""
    return {"name": value} if isinstance(value, str) else value
