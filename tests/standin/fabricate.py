"""Make up a value that is valid for a JSON schema, always the same for the same row."""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil, floor
from typing import Any

from tests.standin.config import draw

#: Arrays within arrays beyond this depth get as few items as they may: a schema that refers to
#: itself has to end somewhere.
DEEPEST_ARRAY = 4


class Unfabricable(ValueError):
    """The schema uses what this module can't satisfy; the sentence says what."""


def fabricate(schema: dict[str, Any], key: str, label: str) -> Any:
    """Return a value for ``schema`` that ``key`` decides; plain strings contain ``label``.

    ``label`` is cut where ``maxLength`` is shorter. Raises Unfabricable for `pattern`, an unknown
    `format`, and a `$ref` that leads nowhere.
    """
    return _Fabric(schema, key, label).value(schema, "$")


class _Fabric:
    def __init__(self, root: dict[str, Any], key: str, label: str) -> None:
        self._root = root
        self._key = key
        self._label = label

    def _pick(self, count: int, path: str) -> int:
        return int(draw(self._key, path) * count)

    def value(self, schema: Any, path: str) -> Any:
        if schema is True or schema == {}:
            return self._string({}, path)
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), path)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][self._pick(len(schema["enum"]), path)]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                options = schema[word]
                rest = {k: v for k, v in schema.items() if k != word}
                return self.value(rest | options[self._pick(len(options), path)], path)
        if "allOf" in schema:
            return self.value(_merged(schema), path)
        return self._of_type(schema, path)

    def _of_type(self, schema: dict[str, Any], path: str) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = kind[self._pick(len(kind), path + "?")]
        match kind:
            case "null":
                return None
            case "boolean":
                return bool(self._pick(2, path))
            case "integer":
                return int(self._number(schema, path, 1))
            case "number":
                return self._number(schema, path, 0.01)
            case "string":
                return self._string(schema, path)
            case "array":
                return self._array(schema, path)
            case "object":
                return {
                    name: self.value(part, f"{path}.{name}")
                    for name, part in schema.get("properties", {}).items()
                }
        raise Unfabricable(f"type {kind!r} at {path}")

    def _number(self, schema: dict[str, Any], path: str, step: float) -> float:
        """Return a multiple of ``multipleOf``, or of ``step``, within the bounds."""
        step = schema.get("multipleOf", step)
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        if least is None:
            least = 0 if most is None or most >= 0 else most - 100 * step
        if most is None:
            most = least + max(100, 100 * step)
        first, last = ceil(least / step), floor(most / step)
        if first * step <= schema.get("exclusiveMinimum", first * step - 1):
            first += 1
        if last * step >= schema.get("exclusiveMaximum", last * step + 1):
            last -= 1
        if first > last:
            # Bounds narrower than a step, like 0.001..0.002: halfway is inside.
            return float(least + most) / 2
        steps = first + self._pick(last - first + 1, path)
        # Division by the whole number 100 gives the float nearest to the cent; × 0.01 does not.
        return steps / round(1 / step) if step < 1 else steps * step

    def _string(self, schema: dict[str, Any], path: str) -> str:
        if "pattern" in schema:
            raise Unfabricable(f"pattern at {path}")
        if "format" in schema:
            return self._formatted(schema["format"], path)
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        text = f"{self._label}: {path.removeprefix('$.')} {self._pick(10_000, path):04}"
        return text.ljust(least, ".")[:most]

    def _formatted(self, form: str, path: str) -> str:
        number = self._pick(3650, path)
        day = (date(2020, 1, 1) + timedelta(days=number)).isoformat()
        made = {
            "date": day,
            "date-time": f"{day}T12:00:00Z",
            "time": "12:00:00Z",
            "duration": f"P{number}D",
            "email": f"row{number}@example.com",
            "hostname": f"row{number}.example.com",
            "ipv4": f"192.0.2.{number % 256}",
            "ipv6": f"2001:db8::{number:x}",
            "uuid": f"00000000-0000-4000-8000-{number:012x}",
            "uri": f"https://example.com/{number}",
        }
        if form not in made:
            raise Unfabricable(f"format {form!r} at {path}")
        return made[form]

    def _array(self, schema: dict[str, Any], path: str) -> list[Any]:
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, 3))
        if path.count("[") >= DEEPEST_ARRAY:
            most = least
        count = least + self._pick(most - least + 1, path)
        made = [self.value(schema.get("items", {}), f"{path}[{i}]") for i in range(count)]
        if not schema.get("uniqueItems"):
            return made
        unique = [item for at, item in enumerate(made) if item not in made[:at]]
        if len(unique) < least:
            raise Unfabricable(f"uniqueItems at {path}")
        return unique

    def _resolve(self, ref: str) -> Any:
        found: Any = self._root
        for part in ref.removeprefix("#").strip("/").split("/"):
            if part:
                try:
                    found = found[part.replace("~1", "/").replace("~0", "~")]
                except (KeyError, TypeError):
                    raise Unfabricable(f"$ref {ref!r}") from None
        return found


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` with the parts of its ``allOf`` laid over each other."""
    merged = {word: value for word, value in schema.items() if word != "allOf"}
    for part in schema["allOf"]:
        properties = merged.get("properties", {}) | part.get("properties", {})
        merged |= part
        if properties:
            merged["properties"] = properties
    return merged
