"""Sentences on a recipe file's mistakes: the line, the field, and the right content."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rowfleet.recipes import bounded_yaml

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
        line, found = _find(root, location)
        missing = item["type"] == "missing" or root is None
        label = ".".join(map(str, location if missing else location[:found])) or "recipe"
        what = _what(item, fields)
        if label in problems and label.startswith("variables"):
            what = "must be text or a number"
        problems[label] = (0 if missing and len(location) == 1 else line, what)
    listed = sorted(problems.items(), key=lambda problem: problem[1][0])
    parts = [
        f"{label}: {what}{f' (line {line})' if line else ''}"
        for label, (line, what) in listed[:MOST_NAMED]
    ]
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


def _unknown(location: Sequence[int | str], fields: Mapping[str, type[BaseModel]]) -> str:
    holder = str(location[0]) if len(location) > 1 else ""
    known = list(fields[holder].model_fields) if holder in fields else []
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"there is no such field; did you mean {close[0]}?"
    return f"there is no such field; there are {', '.join(known)}" if known else "no such field"
