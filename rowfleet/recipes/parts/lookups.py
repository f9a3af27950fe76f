"""Tables that rules look values up in, and that are sent with a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from rowfleet.recipes.parts.base import Part
from rowfleet.recipes.rules.lookup_keys import as_key

#: Entries of a lookup, and characters of the JSON of all lookups of a recipe: each batch keeps its
#: own in its record, which every look at the batch reads.
MAX_ENTRIES, MAX_JSON_CHARS = 20_000, 1 << 20

Scalar = str | int | float | bool | None


class Lookup(Part):
    """A table by its keys: a list, a mapping, another sheet of the workbook, or a file."""

    #: Keys without further columns.
    values: tuple[str | int | float, ...] = ()
    #: Key → column → value. Of a sheet or a file it is filled in when the batch is made, so that
    #: workers need neither.
    table: dict[str, dict[str, Scalar]] | None = None
    #: The name of a sheet of the workbook that is submitted; or a file beside the recipe.
    sheet: str | None = Field(default=None, min_length=1)
    file: str | None = Field(default=None, min_length=1)
    #: The column that holds the keys, and those that are kept. Empty: all.
    key: str | None = Field(default=None, min_length=1)
    columns: tuple[str, ...] = ()
    #: The row's column whose cell is the key of an entry that is sent with the row.
    join: str | None = Field(default=None, min_length=1)
    #: The fate of a row whose key the table lacks: it needs review, or nothing follows.
    missing: Literal["review", "allow"] = "review"

    @model_validator(mode="after")
    def _has_one_source(self, info: ValidationInfo) -> Lookup:
        sources = [name for name in ("values", "sheet", "file") if getattr(self, name)]
        is_filled = self.table is not None and bool(self.sheet or self.file)
        if self.table is not None and (not is_filled or info.context == {"file": True}):
            sources.append("table")
        if len(sources) != 1:
            listed = " and ".join(sources) or "none of them"
            raise ValueError(f"must have values, table, sheet or file, and has {listed}")
        if (self.sheet or self.file) and self.key is None:
            raise ValueError("needs key: the column that holds the keys")
        if self.entries is not None and len(self.entries) > MAX_ENTRIES:
            raise ValueError(f"has more than {MAX_ENTRIES:,} entries")
        return self

    @cached_property
    def entries(self) -> Mapping[str, Mapping[str, Scalar]] | None:
        """The table by its keys; None: it is not read yet."""
        if self.values:
            return {as_key(value): {} for value in self.values}
        if self.table is None:
            return None
        return {as_key(key): entry for key, entry in self.table.items()}

    def found(self, value: Any) -> Mapping[str, Scalar] | None:
        """Return the entry of a key, None if the table lacks it."""
        return (self.entries or {}).get(as_key(value))


def check_size(lookups: Mapping[str, Lookup]) -> None:
    """Raise ValueError for lookups that are too large for a batch's record."""
    size = sum(len(json.dumps(lookup.table)) for lookup in lookups.values() if lookup.table)
    if size > MAX_JSON_CHARS:
        raise ValueError(
            f"lookups have {size:,} characters as JSON, and at most {MAX_JSON_CHARS:,} are taken; "
            "keep fewer columns"
        )
