"""The JSON schema of a recipe's output: whether it can be used, and whether an answer fits it.

A schema comes from an untrusted file, and workers get it from the ledger. So a
reference stays inside the schema, nothing is ever fetched or opened to resolve one, patterns are
matched in linear time, and checking one answer takes a bounded number of steps.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from rowfleet.recipes import patterns, references
from rowfleet.recipes.references import Place, named, wrong

#: Object properties and enum values of a schema, and characters of all its names, enum values and
#: constants: what OpenAI takes. https://platform.openai.com/docs/guides/structured-outputs
MAX_PROPERTIES, MAX_ENUM_VALUES, MAX_NAME_CHARS = 5_000, 1_000, 120_000
#: Schemas within a schema: a property may need several.
MAX_SCHEMAS = 10_000
#: Different patterns of a schema; each may hold 3 MiB of memory.
MAX_PATTERNS = 32
#: Levels of schemas within schemas. OpenAI takes 10 levels of objects.
MAX_DEPTH = 32
#: The most that `minLength`, `minItems` and the like may ask for: no model answers as much.
MAX_LEAST = 32_767
DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: Keywords whose value is a schema, a list of schemas, or a mapping from names to schemas. The
#: first of each apply to the same value as the schema they stand in.
_ONE_HERE, _MANY_HERE, _NAMED_HERE = (
    ("not", "if", "then", "else"),
    ("allOf", "anyOf", "oneOf"),
    ("dependentSchemas",),
)
_ONE = ("items", "contains", "additionalProperties", "propertyNames", "additionalItems")
_MANY = ("prefixItems",)
_NAMED = ("properties", "patternProperties", "$defs", "definitions")

_NOT_TAKEN = {
    "$id": "a schema of a recipe has no address",
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $anchor",
    "$recursiveRef": "use $ref",
    "$recursiveAnchor": "use $anchor",
    "$vocabulary": "it is for meta-schemas",
    "unevaluatedProperties": "objects with properties are closed anyway",
    "unevaluatedItems": "use items",
}
_LEAST = ("minLength", "minItems", "minProperties", "minContains")

_REFERENCE = re.compile(r"#[!-~]*")

#: Keywords that are taken: those of draft 2020-12 (https://json-schema.org/draft/2020-12/schema),
#: annotations included, without those of `_NOT_TAKEN`.
_KEYWORDS = frozenset(
    [
        "$schema",
        "$ref",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
        "prefixItems",
        "items",
        "contains",
        "additionalProperties",
        "properties",
        "patternProperties",
        "dependentSchemas",
        "propertyNames",
        "if",
        "then",
        "else",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "type",
        "const",
        "enum",
        "multipleOf",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "maxContains",
        "minContains",
        "maxProperties",
        "minProperties",
        "required",
        "dependentRequired",
        "title",
        "description",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
        "examples",
        "format",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
    ]
)
#: Keywords of other dialects, which 2020-12 passes over, and what says the same.
_ELSEWHERE = {
    "additionalItems": "use items",
    "dependencies": "use dependentRequired or dependentSchemas",
    "nullable": 'use type: [string, "null"]',
    "example": "use examples",
}


def check(schema: dict[str, Any], *, is_new: bool = False) -> None:
    """Raise ValueError, with a sentence that names the place, for a schema that can't be used.

    One that ``is_new`` has no unknown keywords, which validators pass over: they are mistakes. A
    schema that is recorded may have them.
    """
    found = _Walk(is_new)
    found.walk(schema, ())
    found.check_counts()
    try:
        # Its own check of patterns is Python's `re`, which takes others than we do.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise ValueError(
            f"not a JSON schema, at {named(error.absolute_path)}: {error.message[:200]}"
        ) from None
    found.check_references()


@dataclass(slots=True)
class _Walk:
    """Every schema in a schema, by its place."""

    #: Whether unknown keywords are refused.
    is_new: bool = False
    schemas: dict[Place, Any] = field(default_factory=dict)
    #: Place → places of the schemas that apply to the same value.
    here: dict[Place, list[Place]] = field(default_factory=dict)
    references: dict[Place, str] = field(default_factory=dict)
    anchors: dict[str, Place] = field(default_factory=dict)
    patterns: set[str] = field(default_factory=set)
    properties: int = 0
    enum_values: int = 0
    name_chars: int = 0

    def walk(self, schema: Any, place: Place, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"at {named(place)}: nested more than {MAX_DEPTH} levels deep")
        if len(self.schemas) >= MAX_SCHEMAS:
            raise ValueError(f"has more than {MAX_SCHEMAS:,} schemas within it")
        self.schemas[place] = schema
        if not isinstance(schema, dict):
            return  # true, false, or what the check against the meta-schema refuses
        self._keywords(schema, place)
        if self.is_new:
            self._refuse_unknown(schema, place)
        for keyword in _ONE + _ONE_HERE:
            if keyword in schema:
                self._below(schema[keyword], place, depth, keyword, here=keyword in _ONE_HERE)
        for keyword in _MANY + _MANY_HERE:
            if isinstance(schema.get(keyword), list):
                for index, part in enumerate(schema[keyword]):
                    self._below(part, place, depth, keyword, str(index), here=keyword in _MANY_HERE)
        for keyword in _NAMED + _NAMED_HERE:
            if isinstance(schema.get(keyword), dict):
                for name, part in schema[keyword].items():
                    self.name_chars += len(str(name))
                    self._below(part, place, depth, keyword, str(name), here=keyword in _NAMED_HERE)

    def _below(self, schema: Any, place: Place, depth: int, *further: str, here: bool) -> None:
        below = place + further
        if here:
            self.here.setdefault(place, []).append(below)
        self.walk(schema, below, depth + 1)

    def _keywords(self, schema: dict[str, Any], place: Place) -> None:
        for keyword, instead in _NOT_TAKEN.items():
            if keyword in schema:
                raise wrong(place, keyword, f"is not taken; {instead}")
        if "$schema" in schema and (place or schema["$schema"] not in (DIALECT, DIALECT + "#")):
            raise wrong(place, "$schema", f"must be {DIALECT}, and stand at the top")
        reference = schema.get("$ref")
        if reference is not None:
            if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
                raise wrong(
                    place,
                    "$ref",
                    "a reference stays inside the schema: it begins with #, as #/$defs/NAME does, "
                    "and has a % code for a character beyond ASCII",
                )
            self.references[place] = reference
        if isinstance(anchor := schema.get("$anchor"), str):
            if anchor in self.anchors:
                raise wrong(place, "$anchor", f"gives the name {anchor[:60]!r} again")
            self.anchors[anchor] = place
        for keyword in _LEAST:
            least = schema.get(keyword)
            if isinstance(least, (int, float)) and least > MAX_LEAST:
                raise wrong(place, keyword, f"asks for more than {MAX_LEAST:,}")
        self._patterns(schema, place)
        if isinstance(schema.get("properties"), dict):
            self.properties += len(schema["properties"])
        if isinstance(values := schema.get("enum"), list):
            self.enum_values += len(values)
            self.name_chars += sum(len(str(value)) for value in values)
        if "const" in schema:
            self.name_chars += len(str(schema["const"]))

    def _refuse_unknown(self, schema: dict[str, Any], place: Place) -> None:
        for keyword in schema:
            if keyword in _KEYWORDS or keyword.startswith("x-"):
                continue
            if keyword in _ELSEWHERE:
                what = f"is not of JSON schema 2020-12; {_ELSEWHERE[keyword]}"
            else:
                close = difflib.get_close_matches(keyword[:60], _KEYWORDS, n=1, cutoff=0.5)
                what = "there is no such keyword" + (f"; did you mean {close[0]}?" if close else "")
            raise wrong(place, keyword, what)

    def _patterns(self, schema: dict[str, Any], place: Place) -> None:
        named = schema.get("patternProperties")
        given = [("patternProperties", each) for each in named] if isinstance(named, dict) else []
        if "pattern" in schema:
            given.append(("pattern", schema["pattern"]))
        for keyword, pattern in given:
            if not isinstance(pattern, str) or pattern in self.patterns:
                continue
            if len(self.patterns) >= MAX_PATTERNS:
                raise ValueError(f"has more than {MAX_PATTERNS} different patterns")
            self.patterns.add(pattern)
            try:
                patterns.compiled(pattern)
            except ValueError as error:
                raise wrong(place, keyword, f"{pattern[:60]!r} can't be matched: {error}") from None

    def check_counts(self) -> None:
        for count, most, what in (
            (self.properties, MAX_PROPERTIES, "properties"),
            (self.enum_values, MAX_ENUM_VALUES, "enum values"),
            (self.name_chars, MAX_NAME_CHARS, "characters in names, enum values and constants"),
        ):
            if count > most:
                raise ValueError(f"has {count:,} {what}, and at most {most:,} are taken")

    def check_references(self) -> None:
        """Refuse references that lead nowhere, in a circle, or to too many schemas at once."""
        references.check(self.references, self.anchors, self.schemas, self.here)
