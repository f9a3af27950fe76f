"""Sentences on a recipe file's mistakes: the line, the field, and the right content."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rowfleet.recipes import bounded_yaml
from rowfleet.recipes.rules.rulebook import RuleMistake

#: Most problems that a sentence names; the first ones are mended first.
MOST_NAMED = 5

#: pydantic's type of error → what belongs there.
#: https://docs.pydantic.dev/latest/errors/validation_errors/
_EXPECTED = {
    "string_type": "must be text; a number, a date, yes and no need quotes",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "model_attributes_type": "must be a mapping of names to values",
}


def sentence(
    error: ValidationError, text: str | None, fields: Mapping[str, type[BaseModel]]
) -> str:
    """Return what is wrong with the YAML ``text``, in the order of its lines; None has no lines.

    ``fields``: the name of a field that holds more (empty for the recipe itself) → what it holds.
    """
    root = None if text is None else bounded_yaml.nodes(text)
    problems: dict[str, tuple[int, str]] = {}
    for item in error.errors(include_url=False):
        location = [part for part in item["loc"] if part != "[key]"]
        rule = (item.get("ctx") or {}).get("error")
        if isinstance(rule, RuleMistake):
            label, place = _rule(text or "", root, rule)
            problems[label] = (place[0], f"{rule}{_at(place)}")
            continue
        line, found = _find(root, location)
        missing = item["type"] == "missing" or root is None
        label = ".".join(map(str, location if missing else location[:found])) or "recipe"
        what = _what(item, fields)
        if label in problems and label.startswith("variables"):
            what = "must be text or a number"
        line = 0 if missing and len(location) == 1 else line
        problems[label] = (line, what + (f" (line {line})" if line else ""))
    listed = sorted(problems.items(), key=lambda problem: problem[1][0])
    parts = [f"{label}: {what}" for label, (_, what) in listed[:MOST_NAMED]]
    if len(listed) > MOST_NAMED:
        parts.append(f"and {len(listed) - MOST_NAMED} more")
    return "; ".join(parts)


def _find(root: yaml.Node | None, location: Sequence[int | str]) -> tuple[int, int]:
    """Return the line of the deepest part of ``location`` in the text, and how many parts it has.

    Line 0 is that of the whole.
    """
    node, line = root, 0
    for depth, part in enumerate(location):
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
            if not pairs:
                return line, depth
            key, node = pairs[-1]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                return line, depth
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line, depth
    return line, len(location)


def _rule(text: str, root: yaml.Node | None, mistake: RuleMistake) -> tuple[str, tuple[int, int]]:
    """Return what a sentence calls a rule, and the line and column of its mistake in the text."""
    label = ".".join(map(str, mistake.path))
    node = root
    for part in mistake.path:
        if isinstance(node, yaml.MappingNode):
            held = [value for key, value in node.value if key.value == str(part)]
            node = held[-1] if held else None
            continue
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            if isinstance(node, yaml.MappingNode):
                named = [value.value for key, value in node.value if key.value == "name"]
                label = f"{mistake.path[0]}.{named[0]}" if named else label
    if isinstance(node, yaml.MappingNode):  # a computed field with its terms
        node = next((value for key, value in node.value if key.value == "value"), node)
    return label, (0, 0) if node is None else bounded_yaml.place_in(text, node, mistake.at)


def _at(place: tuple[int, int]) -> str:
    line, column = place
    return f" (line {line}, column {column})" if line else ""


def _what(item: Any, fields: Mapping[str, type[BaseModel]]) -> str:
    kind, message, given = item["type"], str(item["msg"]), item.get("input")
    match kind:
        case "extra_forbidden":
            return _unknown(item["loc"], fields)
        case "missing":
            return "is missing"
        case "literal_error":
            return f"is {str(given)[:60]!r}, must be {item['ctx']['expected']}"
        case "string_pattern_mismatch" if item["loc"] == ("name",):
            return (
                f"is {str(given)[:60]!r}; use up to 63 lower-case letters, digits and dashes, the "
                "first a letter or digit"
            )
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    return message.removeprefix("Value error, ").replace("Input should", "should")


def _names(part: type[BaseModel]) -> list[str]:
    """Return the fields of a part as a recipe writes them."""
    return [field.alias or name for name, field in part.model_fields.items()]


def _unknown(location: Sequence[int | str], fields: Mapping[str, type[BaseModel]]) -> str:
    holder = str(location[0]) if len(location) > 1 else ""
    known = _names(fields[holder]) if holder in fields else []
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"there is no such field; did you mean {close[0]}?"
    return f"there is no such field; there are {', '.join(known)}" if known else "no such field"
