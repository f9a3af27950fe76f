"""Which property of the answers is their confidence, and what it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rowfleet.errors import InputError
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe

#: What the property of the confidence is called, alone or behind the name of what it is about.
CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class Scale:
    """A property that holds a confidence, and the value that means certainty."""

    name: str
    most: float

    @classmethod
    def of_recipe(cls, recipe: Recipe, property_: str, wanted: str | None) -> Scale | None:
        """Return the confidence of a property, None if the recipe asks for none.

        It is the property ``wanted``, else `<property>_confidence`, else `confidence`. Its schema's
        `maximum` is certainty; without one that is 100 for whole numbers, and 1 for others. Raises
        InputError if ``wanted`` is not a number of the recipe.
        """
        schemas: Mapping[str, Mapping[str, Any]] = recipe.output["properties"]
        names = [wanted] if wanted else [f"{property_}_{CONFIDENCE}", CONFIDENCE]
        for name in names:
            for key, schema in schemas.items():
                if fold(key) == fold(name) and key != property_ and _is_number(schema):
                    return cls(key, _most(schema))
        if wanted:
            listed = ", ".join(key for key, schema in schemas.items() if _is_number(schema))
            raise InputError(
                f"--confidence {wanted!r}: the recipe {recipe.name!r} answers no such number; "
                + (f"its numbers are {listed}" if listed else "it answers no numbers")
            )
        return None

    def in_its_unit(self, confidence: float) -> str:
        """Return a confidence from 0 to 1 as an answer has it: `85` of 100, `0.85` of 1."""
        return f"{confidence * self.most:.6g}"

    def of(self, output: Mapping[str, Any]) -> float | None:
        """Return an answer's confidence from 0 to 1, None if it has none."""
        value = output.get(self.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return min(1.0, max(0.0, value / self.most))


def _is_number(schema: Mapping[str, Any]) -> bool:
    types = schema.get("type")
    return bool({"number", "integer"} & ({types} if isinstance(types, str) else set(types or ())))


def _most(schema: Mapping[str, Any]) -> float:
    most = schema.get("maximum")
    if isinstance(most, (int, float)) and most > 0:
        return float(most)
    return 100.0 if schema.get("type") == "integer" else 1.0
