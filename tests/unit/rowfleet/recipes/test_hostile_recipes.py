"""A recipe from anybody costs what a page of text costs, and reaches nothing outside itself."""

import json
import os
import re
from contextlib import suppress

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes import schema
from rowfleet.recipes.loading import load
from tests.support.recipes import GOOD, TEAM, output, refusal, refused_output, with_output


@pytest.mark.parametrize(
    ("team", "says"),
    [
        ({"enum": list(range(1001))}, "has 1,001 enum values"),
        ({"enum": ["x" * 60_000, "y" * 60_001]}, "characters in names, enum values"),
        ({"const": "x" * 120_001}, "characters in names, enum values"),
        ({"minLength": 1e9}, "at properties/team/minLength: asks for more than 32,767"),
        ({"minItems": 100_000}, "at properties/team/minItems: asks for more"),
        ({"properties": {f"p{n}": {} for n in range(5000)}}, "has 5,001 properties"),
        ({"anyOf": [{}] * 10_000}, "has more than 10,000 schemas"),
        ({"anyOf": [{}] * 1_001}, "more than 1,000 schemas apply to one value"),
    ],
)
def test_a_schema_is_bounded(team, says):
    assert says in refused_output(output(team))


def test_a_deep_schema_is_refused():
    deep = TEAM
    for _ in range(schema.MAX_DEPTH):
        deep = {"items": deep}
    assert "nested more than 32 levels deep" in refused_output(output(deep))


def test_a_prompt_is_bounded_with_its_variables():
    grown = {**GOOD, "variables": {"product": "x" * 100_000}, "prompt": "{product}" * 11}
    assert "prompt: has more than 1,048,576 characters" in refusal(json.dumps(grown))
    bomb = {**GOOD, "variables": {"product": "x" * 500_000}, "prompt": "{product}" * 50_000}
    assert "prompt: has more than 1,048,576 characters" in refusal(json.dumps(bomb))


def test_columns_are_bounded():
    many = {**GOOD, "columns": [{"name": "A", "aliases": [str(n) for n in range(16_384)]}]}
    assert "columns has more than 16,384 names and aliases" in refusal(json.dumps(many))


KEYWORDS = (
    "$ref $anchor $schema enum const pattern patternProperties properties anyOf items not "
    "minLength $defs dependentSchemas required type multipleOf uniqueItems"
)


@pytest.mark.parametrize("value", [True, 1, "x", None, [], {}])
@pytest.mark.parametrize("keyword", KEYWORDS.split())
def test_a_wrong_type_in_a_schema_is_a_sentence(keyword, value):
    with suppress(InputError):
        assert with_output(output({keyword: value})).problem_with({"team": 1}) is not Ellipsis


@pytest.mark.parametrize("name", ["folder", "pipe", "/dev/zero"])
def test_a_recipe_is_a_regular_file(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError) as error:
        load(path)
    assert re.match(rf"{path}: (is a directory|not a regular file|can't be read)", str(error.value))
