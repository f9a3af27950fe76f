"""`--map HEADER=NAME`: which of the sheet's columns a person says the recipe's column is."""

from __future__ import annotations

from collections.abc import Sequence

from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe

#: Names that a sentence lists at most.
_MOST_LISTED = 20


def mapped(maps: Sequence[str], names: Sequence[str], recipe: Recipe) -> dict[str, int]:
    """Return the recipe's name of each mapped column → its index in ``names``, the header.

    A header may hold a `=`, so the name begins behind any of them. Where the recipe names no
    columns, the name is the one under which the column is sent. Raises InputError for a header or
    a name that is not there, and for a name that is given twice.
    """
    at = {fold(name): index for index, name in reversed(list(enumerate(names)))}
    found: dict[str, int] = {}
    for text in maps:
        name, index = _one(text, at, names, recipe)
        if name in found:
            raise InputError(f"--map {text!r}: {name!r} was mapped before; map it once")
        found[name] = index
    return found


def _one(text: str, at: dict[str, int], names: Sequence[str], recipe: Recipe) -> tuple[str, int]:
    parts = [
        (text[:place].strip(), text[place + 1 :].strip())
        for place, character in enumerate(text)
        if character == "="
    ]
    if not parts:
        raise InputError(f"--map {text!r}: write HEADER=NAME, the sheet's header first")
    here = [(header, wanted) for header, wanted in parts if fold(header) in at]
    if not here:
        raise InputError(
            f"--map {text!r}: the header has no {parts[-1][0]!r}; it has {_listed(names)}"
        )
    known = {
        fold(name): column.name
        for column in recipe.columns
        for name in (column.name, *column.aliases)
    }
    for header, wanted in here:
        if not recipe.columns and wanted:
            return wanted, at[fold(header)]
        if fold(wanted) in known:
            return known[fold(wanted)], at[fold(header)]
    listed = _listed([column.name for column in recipe.columns]) or "no name behind the ="
    raise InputError(
        f"--map {text!r}: the recipe {recipe.name!r} has no column {here[-1][1]!r}; it has {listed}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
