"""Tables of a recipe's lookups are read from sheets and files when a batch is made of it.

The batch keeps them in its recipe: workers need no file, and the batch goes on with the same tables
though the file changes.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from rowfleet.cells import plain, value
from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from rowfleet.recipes.parts.lookups import MAX_ENTRIES, Lookup, Scalar
from rowfleet.recipes.recipe import Recipe
from rowfleet.recipes.rules.lookup_keys import as_key
from rowfleet.recipes.rules.rulebook import RuleMistake
from submitter.sheets.opening import open_sheet
from submitter.sheets.sheet import Sheet


def with_tables(recipe: Recipe, workbook: Path, name: str, recipe_file: Path | None) -> Recipe:
    """Return the recipe with the tables of all its lookups.

    ``workbook`` is the spreadsheet that is submitted, which sentences call ``name``; the files of
    lookups stand beside ``recipe_file``. Raises InputError for a table that can't be read, and for
    a rule that does not go with it.
    """
    tables = {
        key: lookup.model_copy(update={"table": _table(key, lookup, workbook, name, recipe_file)})
        for key, lookup in recipe.lookups.items()
        if lookup.entries is None
    }
    if not tables:
        return recipe
    filled = recipe.model_copy(update={"lookups": {**recipe.lookups, **tables}})
    try:
        # Rules may name columns that only the tables have.
        checked = Recipe.model_validate(filled.snapshot())
    except ValidationError as error:
        problem = (error.errors()[0].get("ctx") or {}).get("error")
        where = f"{'.'.join(map(str, problem.path))}: " if isinstance(problem, RuleMistake) else ""
        raise InputError(f"the recipe {recipe.name!r}: {where}{problem}") from None
    return checked.model_copy(update={"prices": recipe.prices})


def _table(
    key: str, lookup: Lookup, workbook: Path, name: str, recipe_file: Path | None
) -> dict[str, dict[str, Scalar]]:
    if lookup.sheet is not None:
        path = workbook
    else:
        assert lookup.file is not None
        folder = Path() if recipe_file is None else recipe_file.parent
        path, name = folder / lookup.file, str(folder / lookup.file)
        # A recipe may be a stranger's, and what a table holds goes to the model.
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"lookups.{key}: {lookup.file}: lies outside the recipe's folder; put it beside "
                "the recipe"
            )
    try:
        with open_sheet(path, lookup.sheet, name=name) as sheet:
            return _read(lookup, sheet)
    except InputError as error:
        raise InputError(f"lookups.{key}: {error}") from None


def _read(lookup: Lookup, sheet: Sheet) -> dict[str, dict[str, Scalar]]:
    at = {fold(header): place for place, header in reversed(list(enumerate(sheet.header)))}
    assert lookup.key is not None
    for wanted in (lookup.key, *lookup.columns):
        if fold(wanted) not in at:
            listed = ", ".join(sheet.header)
            raise InputError(f"{sheet.where}: there is no column {wanted!r}; there are {listed}")
    key = at[fold(lookup.key)]
    kept = {name: at[fold(name)] for name in lookup.columns} or {
        header: place for place, header in enumerate(sheet.header) if place != key
    }
    table: dict[str, dict[str, Scalar]] = {}
    seen: dict[str, int] = {}
    for position, cells in sheet.rows():
        row = sheet.first_row + position
        found = as_key(plain(value(cells[key])))
        if not found:
            continue
        if found in seen:
            raise InputError(
                f"{sheet.where}: rows {seen[found]} and {row} have the same key in the column "
                f"{lookup.key!r}"
            )
        seen[found] = row
        table[found] = {name: plain(value(cells[place])) for name, place in kept.items()}
        if len(table) > MAX_ENTRIES:
            raise InputError(f"{sheet.where}: has more than {MAX_ENTRIES:,} keys")
    return table
