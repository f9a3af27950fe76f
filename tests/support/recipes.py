"""Recipes that are read, and the sentences that refuse them."""

from __future__ import annotations

import json

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.recipes.loading import parse

GOOD = {
    "name": "triage",
    "columns": ["Subject"],
    "prompt": "Sort tickets for {product}.",
    "variables": {"product": "Lagoon"},
    "output": {"type": "object", "properties": {"team": {"type": "string"}}},
}
TEAM = {"type": "string"}


def output(team=TEAM, **beside):
    return {"type": "object", "properties": {"team": team}, **beside}


def refusal(text):
    with pytest.raises(InputError) as error:
        parse(text, "evil.yaml")
    sentence = str(error.value)
    assert sentence.startswith("evil.yaml: ")
    assert "\n" not in sentence
    assert len(sentence) < 500
    assert error.value.exit_code == 2
    return sentence


def refused_output(schema):
    return refusal(json.dumps({**GOOD, "output": schema}))


def recorded(schema):
    """The recipe as a worker would get it from a ledger whose submitter checked nothing."""
    made = loading.recorded({**GOOD, "output": schema})
    assert made.output == schema
    return made


def with_output(schema):
    return parse(json.dumps({**GOOD, "output": schema}), "good.yaml")
