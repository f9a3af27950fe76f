"""The shapes of values that a rule may name: cells, the answer's properties, tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["number", "text", "truth", "null", "list", "object", "table", "any"]

#: What a sentence calls each kind.
NAMES: Final[Mapping[Kind, str]] = {
    "number": "a number",
    "text": "text",
    "truth": "true or false",
    "null": "null",
    "list": "a list",
    "object": "an object",
    "table": "a table",
    "any": "a value",
}

_OF_JSON: Final[Mapping[str, Kind]] = {
    "number": "number",
    "integer": "number",
    "string": "text",
    "boolean": "truth",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a value before there is one."""

    kind: Kind
    #: Fields of an object, or columns of a table; None: any may be there.
    fields: Mapping[str, Shape] | None = None
    #: Of a list's items.
    item: Shape | None = None
    #: All texts that it may be; None: not known.
    texts: frozenset[str] | None = None
    #: The columns' or the properties' name in sentences: `column`, `property`, `table`.
    noun: str = "property"

    @property
    def named(self) -> str:
        """What a sentence calls it."""
        return NAMES[self.kind]


ANY = Shape("any")
NUMBER = Shape("number")
TEXT = Shape("text")
TRUTH = Shape("truth")


def of_value(value: Any) -> Shape:
    """Return the shape of a literal."""
    match value:
        case None:
            return Shape("null")
        case bool():
            return TRUTH
        case int() | float():
            return NUMBER
        case str():
            return Shape("text", texts=frozenset({value}))
    return ANY


def of_schema(schema: Any) -> Shape:
    """Return the shape of what a JSON schema describes; any, where that is not plain to see.

    A value that may also be null has the shape it has otherwise: a rule that needs it is not judged
    where it is null.
    """
    if not isinstance(schema, Mapping):
        return ANY
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is not None:
        kinds = {of_value(each).kind for each in allowed} - {"null"}
        if kinds == {"text"}:
            texts = frozenset(each for each in allowed if isinstance(each, str))
            return Shape("text", texts=texts)
        return Shape(kinds.pop()) if len(kinds) == 1 else ANY
    types = schema.get("type")
    named = {types} if isinstance(types, str) else set(types or ()) - {"null"}
    if len(named) != 1:
        return ANY
    (name,) = named
    if name == "array":
        return Shape("list", item=of_schema(schema.get("items")))
    if name == "object":
        properties = schema.get("properties")
        if not properties:
            return Shape("object")
        return Shape("object", {field: of_schema(each) for field, each in properties.items()})
    return Shape(_OF_JSON.get(name, "any"))
