"""A batch's identity comes from the question, and not from the file's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rowfleet.cells import Cell, plain, value
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe


def sent(columns: Mapping[str, int], cells: Sequence[Cell]) -> str:
    """Return a hash of what the model is sent of a row, its number left out."""
    values = [plain(cells[index]) for index in columns.values()]
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else str(plain(value(cell)) or "")


#: Vendors and the like repeat.
_folded = lru_cache(2_000)(fold)


class Identity:
    """Hashes a row's identity columns, so that duplicates can be looked up.

    Number formats don't count: an invoice that is recorded twice may be shown in two ways.
    """

    def __init__(self, recipe: Recipe, columns: Mapping[str, int]) -> None:
        names = recipe.identity
        known = all(name in columns for name in names)
        self._indexes = [columns[name] for name in names] if known else []

    def of(self, cells: Sequence[Cell]) -> str | None:
        """Return the hash, None if a part is blank: then nothing is known to be the same."""
        parts = [_folded(_text(cells[index])) for index in self._indexes]
        if not parts or not all(parts):
            return None
        return hashlib.blake2b(
            "\0".join(parts).encode("utf-8", "replace"), digest_size=16
        ).hexdigest()
