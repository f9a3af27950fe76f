"""Recipes come from files, from the package and from the ledger."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rowfleet import analyzer_kinds
from rowfleet.analyzer_kinds import Kind
from rowfleet.errors import InputError
from rowfleet.prices import Price
from rowfleet.recipes import bounded_yaml
from rowfleet.recipes.parts.checks import Check
from rowfleet.recipes.parts.columns import Column
from rowfleet.recipes.parts.computed import Computed
from rowfleet.recipes.parts.documents import Documents
from rowfleet.recipes.parts.evidence import Evidence
from rowfleet.recipes.parts.examples import Example
from rowfleet.recipes.parts.lookups import Lookup
from rowfleet.recipes.parts.options import ModelOptions
from rowfleet.recipes.recipe import BUNDLED, DEFAULT_RECIPE, FILE, RECORDED, Recipe

#: A recipe is a page of text. A larger file is a mistake (1 MiB).
MAX_RECIPE_BYTES = 1 << 20

#: How the files of spreadsheets begin: those of .xlsx are ZIP archives, those of .xls OLE.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@cache
def bundled(name: str = DEFAULT_RECIPE) -> Recipe:
    """Return a recipe that ships with Rowfleet."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where the wheel has it
    data = yaml.load(bundled_text(name), Loader=loader)  # noqa: S506 (both are safe)
    return Recipe.model_validate(data, context=BUNDLED)


def bundled_names() -> list[str]:
    """Return the names of the recipes that ship with Rowfleet."""
    files = resources.files("rowfleet").joinpath("recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def bundled_text(name: str = DEFAULT_RECIPE) -> str:
    """Return the YAML of a recipe that ships with Rowfleet."""
    return resources.files("rowfleet").joinpath("recipes", f"{name}.yaml").read_text("utf-8")


def recorded(snapshot: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a batch, to read its answers by.

    It may be one that an older version took and this one does not. So its schema is not checked,
    and nothing may be asked or judged by it.
    """
    return Recipe.model_validate(snapshot, context=RECORDED)


def again(snapshot: Mapping[str, Any], batch_id: str) -> Recipe:
    """Return the recipe of a batch, to ask by. Raises InputError if this version takes it not."""
    try:
        return Recipe.model_validate(snapshot)
    except ValidationError as error:
        raise InputError(f"the recipe of batch {batch_id}: {_problems(error, None)}") from None


def load(path: Path) -> Recipe:
    """Read a recipe file. Raises InputError with a sentence that names the file and the field."""
    try:
        # Opening a named pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: not a regular file")
            content = file.read(MAX_RECIPE_BYTES + 1)
        if content.startswith(_SPREADSHEETS):
            raise InputError(f"{path}: is a spreadsheet; --recipe takes a recipe, a page of YAML")
        if len(content) > MAX_RECIPE_BYTES:
            raise InputError(f"{path}: larger than 1 MiB; a recipe is a page of YAML")
        text = content.decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such recipe file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory, not a recipe file") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: is not UTF-8 text (line {line}); save the recipe so") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read as a recipe: {reason}") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Recipe:
    """Return the recipe that the YAML ``text`` holds; ``where`` is named in errors."""
    try:
        data = bounded_yaml.load(text)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: a recipe is a YAML mapping with name, prompt and output")
    return checked(data, where, text)


def checked(data: Mapping[str, Any], where: str, text: str | None = None) -> Recipe:
    """Return the recipe that a user's ``data`` is; ``text`` is its YAML, if it came as such.

    Raises InputError, which begins with ``where``.
    """
    try:
        return Recipe.model_validate(data, context=FILE)
    except ValidationError as error:
        raise InputError(f"{where}: {_problems(error, text)}") from None


def _problems(error: ValidationError, text: str | None) -> str:
    # Only a recipe that is wrong needs it.
    from rowfleet.recipes import mistakes

    fields: dict[str, type[BaseModel]] = {
        "": Recipe,
        "options": ModelOptions,
        "documents": Documents,
        "evidence": Evidence,
        "columns": Column,
        "prices": Price,
        "checks": Check,
        "computed": Computed,
        "lookups": Lookup,
        "examples": Example,
    }
    return mistakes.sentence(error, text, fields)


def can_answer(kind: Kind, recipe: Recipe) -> bool:
    """Tell whether an analyzer of this kind gives every answer that the recipe asks for."""
    return not _beyond(kind, recipe)


def _beyond(kind: Kind, recipe: Recipe) -> list[str]:
    """Return the properties of the recipe's output that the analyzer does not fill."""
    if kind.fills is None:
        return []
    known = bundled(kind.fills).output["properties"]
    return [field for field in recipe.output["properties"] if field not in known]


def check_analyzer(recipe: Recipe, option: str | None, default: str | None = None) -> None:
    """Raise InputError unless the analyzer exists and gives all that the recipe asks for.

    The analyzer is that of the ``option``, else of the recipe, else the ``default``. Without any,
    it is the cluster's to decide.
    """
    name = option or recipe.analyzer or default
    if name is None:
        return
    kind = analyzer_kinds.get(name)
    unknown = _beyond(kind, recipe)
    if not unknown:
        return
    instead = "set OPENAI_API_KEY"
    if option:
        instead += f", and leave --analyzer {kind.name} out"
    elif recipe.analyzer:
        instead += f", and leave `analyzer: {kind.name}` out of the recipe"
    scope = f"{kind.name} fills only the output of the recipe {kind.fills}"
    if kind is analyzer_kinds.WITHOUT_KEY:
        scope = f"{kind.name}, which answers where no key is set, audits invoices"
    raise InputError(
        f"the recipe {recipe.name!r} asks for {', '.join(unknown)}, which only a model can "
        f"answer: {instead}. The analyzer {scope}"
    )
