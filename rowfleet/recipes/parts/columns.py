"""The columns of the sheet that a recipe sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from rowfleet.errors import InputError, NoTable
from rowfleet.recipes.names import fold
from rowfleet.recipes.parts.base import Part

if TYPE_CHECKING:
    from rowfleet.recipes.recipe import Recipe


class Column(Part):
    """A column that is sent to the analyzer under ``name``, found by its name or an alias."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset({"name", "required", "aliases"})

    name: str = Field(min_length=1)
    required: bool = True
    aliases: tuple[str, ...] = ()


def named(value: Any) -> Any:
    """Let a column be written as its name alone."""
    return {"name": value} if isinstance(value, str) else value


def match(
    recipe: Recipe,
    header: tuple[str, ...],
    where: str,
    given: dict[str, int] | None,
    *,
    hint: str,
) -> dict[str, int]:
    """Return the name each sent column has for the model → its index in ``header``.

    See `Recipe.match_columns`. ``hint`` ends the sentence on columns that are missing.
    """
    given = given or {}
    if not recipe.columns:
        renamed = {index: name for name, index in given.items()}
        every = {renamed.get(index, name): index for index, name in enumerate(header)}
        if len(every) < len(header):
            twice = next(name for name in given if name in header)
            raise InputError(f"{where}: --map …={twice}: the sheet has a column of that name")
        missed = recipe.rulebook.missing_column(every) if recipe.judges_answers else None
        if missed is not None:
            raise NoTable(
                f"{where}: a rule of the recipe {recipe.name!r} names the column {missed!r}, "
                f"and the header has only {', '.join(header)}"
            )
        return every
    at = {fold(name): index for index, name in reversed(list(enumerate(header)))}
    found: dict[str, int] = {}
    missing = []
    for column in recipe.columns:
        if column.name in given:
            found[column.name] = given[column.name]
            continue
        hits = [at[key] for key in map(fold, (column.name, *column.aliases)) if key in at]
        if hits:
            found[column.name] = hits[0]
        elif column.required:
            missing.append(column.name)
    if missing:
        raise NoTable(
            f"{where}: the recipe {recipe.name!r} needs {_columns(missing)}, "
            f"and the header has only {', '.join(header)}"
            + f"; a column of another name is given by --map 'HEADER={missing[0]}'"
            + hint
        )
    return found


def _columns(names: list[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"


#: Fields that judge an answer which fits the schema, so that it may need review.
JUDGED_BY: tuple[str, ...] = ("checks", "computed", "auto_approve", "lookups")
