"""The strict form of a schema that the API wants: closed objects, every property required."""

from __future__ import annotations

from typing import Any

#: Keywords whose value is a schema, a list of schemas, or a mapping from names to schemas.
_ONE, _MANY = ("items", "additionalItems", "not"), ("anyOf", "allOf", "oneOf", "prefixItems")

_NAMED = ("properties", "$defs", "definitions")


def close(schema: Any) -> Any:
    """Return a copy of ``schema`` with every object closed and all its properties required."""
    if not isinstance(schema, dict):
        return schema
    closed = dict(schema)
    for key in _ONE:
        if key in closed:
            closed[key] = close(closed[key])
    for key in _MANY:
        if key in closed:
            closed[key] = [close(part) for part in closed[key]]
    for key in _NAMED:
        if key in closed:
            closed[key] = {name: close(part) for name, part in closed[key].items()}
    if "properties" in closed:
        closed["additionalProperties"] = False
        closed["required"] = list(closed["properties"])
    return closed
