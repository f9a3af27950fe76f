"""A recipe from a pydantic model of the answer."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

from pydantic import BaseModel

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe

#: Characters of a recipe's name.
_MAX_NAME = 63


def is_model(recipe: object) -> TypeGuard[type[BaseModel]]:
    """Tell whether it is a pydantic model."""
    return isinstance(recipe, type) and issubclass(recipe, BaseModel)


def recipe_of(model: type[BaseModel], prompt: str | None) -> Recipe:
    """Return a recipe that asks for the model, and sends every column.

    Raises InputError without a prompt, and for a model that structured output can't have.
    """
    if prompt is None:
        raise InputError(f"{model.__name__}: say with prompt what is asked about a row")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "-", model.__name__).strip("-").lower()
    schema: dict[str, Any] = model.model_json_schema()
    return loading.checked(
        {"name": name[:_MAX_NAME] or "answer", "prompt": prompt, "output": schema},
        f"the model {model.__name__}",
    )
