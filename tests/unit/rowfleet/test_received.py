"""JSON and text from outside, as it is let in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowfleet.analysis import Permanent, Usage
from rowfleet.openai_api.batch_files import read_batch_line
from rowfleet.openai_api.replies import parse
from rowfleet.received import MAX_DEPTH, MAX_TOKENS, clean, read_json, token_count
from rowfleet.recipes.recipe import Recipe

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "-1e999", "1" * 400, "1" * 5000,
     "[" * 20_000, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), '{"a":' * 20_000,
     "", "nul", "\ud83d", "[1,]"],
)  # fmt: skip
def test_what_no_ledger_holds_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_json(text)


def test_what_is_json_stays_as_it_is() -> None:
    text = '{"a": [1, -2.5, 1e300, true, null, "\\u00e4\\ud83d\\ude00"], "b": {}}'
    assert read_json(text) == json.loads(text)
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read_json(b"\xef\xbb\xbf[1]") == [1]


def test_text_is_cleaned_wherever_it_stands() -> None:
    assert read_json('{"a\\u0000": ["b\\ud800", "\ud800"]}') == {"a\ufffd": ["b\ufffd", "\ufffd"]}
    assert read_json(b'"a\xff"') == "a\ufffd"
    assert clean("a\0b\udfff") == "a\ufffdb\ufffd"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(VALUES)
def test_what_is_let_in_can_be_written_as_strict_json_and_utf8(value: object) -> None:
    try:
        read = read_json(json.dumps(value))
    except ValueError:
        return
    text = json.dumps(read, ensure_ascii=False, allow_nan=False)
    assert "\0" not in text
    assert json.loads(text.encode()) == read


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (5, 5), (7.0, 7), (0, 0), (MAX_TOKENS, MAX_TOKENS), (MAX_TOKENS + 1, None), (-1, None),
        (True, None), (10**30, None), (1e300, None), (float("nan"), None), (float("inf"), None),
        ("5", None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_a_count_that_can_t_be_is_none(sent: object, count: int | None) -> None:
    assert token_count(sent) == count


def test_a_schema_that_can_t_be_applied_fails_the_row_with_what_it_cost() -> None:
    recipe = Recipe.model_construct(
        name="r",
        output={"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere"}}},
    )
    with pytest.raises(Permanent, match="can't be checked against the recipe's schema") as caught:
        parse('{"a": 1}', recipe, Usage(calls=1, prompt_tokens=5))
    assert caught.value.usage.prompt_tokens == 5


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[]", b"5", b"{}", b'{"custom_id": 5}', b'{"custom_id": "row-"}',
        b'{"custom_id": "row--1"}', b'{"custom_id": "row-99999999999999999999"}',
        '{"custom_id": "row-\u0661"}'.encode(), b"[" * 20_000, b'{"custom_id": "row-1", "x": NaN}',
    ],
)  # fmt: skip
def test_a_line_of_a_batch_file_that_names_no_row_is_passed_over(line: bytes) -> None:
    assert read_batch_line(line) is None


@pytest.mark.parametrize(
    "rest", ['"response": [1], "error": 5', '"response": {"status_code": "200"}']
)
def test_a_line_of_a_batch_file_may_say_anything_else(rest: str) -> None:
    result = read_batch_line(f'{{"custom_id": "row-7", {rest}}}'.encode())
    assert result is not None
    assert (result.row_number, result.status, result.code) == (7, None, None)
