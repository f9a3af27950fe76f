"""The check of one answer takes a bounded number of steps, whatever the schema."""

from __future__ import annotations

import pytest

from tests.support.recipes import TEAM, output, with_output


def test_an_answer_takes_a_bounded_number_of_steps():
    # Two references a level: an answer of 25 levels would take 2**25 checks.
    doubling = with_output(
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/twice"}]}},
            "$defs": {
                "twice": {
                    "allOf": [
                        {"type": "object", "properties": {"b": {"$ref": "#/$defs/maybe"}}},
                        {"type": "object", "properties": {"b": {"$ref": "#/$defs/maybe"}}},
                    ]
                },
                "maybe": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/twice"}]},
            },
        }
    )
    answer = None
    for _ in range(25):
        answer = {"b": answer}
    assert "takes too long to check" in doubling.problem_with({"a": answer})


def test_a_large_answer_is_checked():
    table = with_output(
        output({"type": "array", "items": {"type": "object", "properties": {"a": TEAM, "b": TEAM}}})
    )
    rows = [{"a": "x", "b": "y"}] * 5_000
    assert table.problem_with({"team": rows}) is None
    assert "team/5000/b" in table.problem_with({"team": [*rows, {"a": "x", "b": 1}]})


def test_items_are_compared_in_linear_time():
    unique = with_output(output({"type": "array", "uniqueItems": True}))
    items = [{"a": [number], "b": True} for number in range(20_000)]
    assert unique.problem_with({"team": items}) is None
    assert "twice" in unique.problem_with({"team": [*items, {"b": True, "a": [0.0]}]})
    assert unique.problem_with({"team": [True, 1, [1], {"a": 1}, "1", None]}) is None


@pytest.mark.parametrize("number", [10**400, float("nan"), float("inf")])
def test_a_number_that_cannot_be_divided_does_not_fit(number):
    halves = with_output(output({"type": "number", "multipleOf": 0.5}))
    assert halves.problem_with({"team": number}) is not None
    assert halves.problem_with({"team": 1.5}) is None


def test_a_deep_answer_does_not_fit():
    tree = with_output(
        {
            "type": "object",
            "properties": {"a": {"type": ["object", "null"]}},
            "$defs": {},
            "additionalProperties": False,
        }
    )
    nested = with_output(output({"type": "array", "items": {"$ref": "#/properties/team"}}))
    deep = []
    for _ in range(3_000):
        deep = [deep]
    assert "nested too deeply" in nested.problem_with({"team": deep})
    assert tree.problem_with({"a": None}) is None
