"""Made-up values: the stand-in's answers fit the schema that was sent."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from tests.standin.fabricate import Unfabricable, fabricate
from tests.support.standin_calls import SCHEMA

SCHEMAS = {
    "types": {
        "type": "object",
        "properties": {
            name: {"type": name} for name in ("string", "number", "integer", "boolean", "null")
        },
    },
    "bounds": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -3, "maximum": -2},
            "b": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
            "c": {"type": "integer", "multipleOf": 7, "minimum": 8},
            "d": {"type": "number", "maximum": -1000},
            "e": {"type": "string", "maxLength": 3},
            "f": {"type": "string", "minLength": 300},
            "g": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3},
        },
    },
    "formats": {
        "type": "object",
        "properties": {
            form: {"type": "string", "format": form}
            for form in ("date", "date-time", "time", "email", "uuid", "ipv4", "ipv6", "duration")
        },
    },
    "arrays": {
        "type": "object",
        "properties": {
            "few": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
            "unique": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
            "deep": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        },
    },
    "choices": {
        "type": "object",
        "properties": {
            "maybe": {"type": ["string", "null"]},
            "any": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "const": {"const": 7},
            "all": {"allOf": [{"type": "integer"}, {"minimum": 5, "maximum": 6}]},
        },
    },
    "itself": {
        "type": "object",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            }
        },
        "properties": {"tree": {"$ref": "#/$defs/node"}},
    },
    "default recipe": SCHEMA,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_made_up_value_is_valid(name):
    schema = SCHEMAS[name]
    validator = Draft202012Validator(
        schema | {"required": list(schema["properties"])},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    for key in range(200):
        value = fabricate(schema, str(key), "row 1")
        assert not list(validator.iter_errors(value)), value
        assert value == fabricate(schema, str(key), "row 1")


def test_what_cannot_be_made_up_is_said():
    with pytest.raises(Unfabricable, match=r"pattern at \$\.a"):
        fabricate({"properties": {"a": {"type": "string", "pattern": "^x"}}}, "k", "row 1")
