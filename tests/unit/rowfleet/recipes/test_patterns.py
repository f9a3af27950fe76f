"""A pattern of a recipe's schema is matched in linear time."""

from __future__ import annotations

import pytest

from rowfleet.recipes import patterns, schema
from tests.support.recipes import output, refused_output, with_output


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){12}$", "(x+x+)+y", "^([a-z]+)*[0-9]$"]
)
def test_a_pattern_is_matched_in_linear_time(pattern):
    # Python's `re` needs hours for it, and pytest's own limit ends the test.
    limited = with_output(output({"type": "string", "pattern": pattern}))
    assert "does not match" in limited.problem_with({"team": "a" * 20_000 + "!"})
    by_name = with_output(output({"type": "object", "patternProperties": {pattern: False}}))
    assert by_name.problem_with({"team": {"a" * 20_000 + "!": 1}}) is None
    closed = with_output(
        output(
            {"type": "object", "patternProperties": {pattern: {}}, "additionalProperties": False}
        )
    )
    assert "is not one of" in closed.problem_with({"team": {"a" * 20_000 + "!": 1}})


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(?=a)b", "there is no look-around"),
        ("(?<!a)b", "there is no look-around"),
        (r"(a)\1", "backreferences are not supported"),
        ("(a", "unclosed group"),
        ("a)|(b", "closes no group"),
        ("[a", "is written with a \\ before it"),
        ("[][a{999}]{999}", "is written with a \\ before it"),
        ("(?x)a{ 9 }", "is not taken"),
        ("(?:a{1,60}){60}", "stands for"),
        ("a{0,999999}", "stands for"),
        ("(?:^){900000}", "stands for"),
        (r"\w{500}", "too much memory"),
        (r"\p{L}{1000}", "too much memory"),
    ],
)
def test_a_pattern_that_cannot_be_matched_so_is_refused(pattern, says):
    for keyword, value in (("pattern", pattern), ("patternProperties", {pattern: {}})):
        sentence = refused_output(output({keyword: value}))
        assert f"at properties/team/{keyword}: " in sentence
        assert says in sentence


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\d{4}-\d{2}-\d{2}$", "2026-01-31", "2026-1-31"),
        (r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", "DE02120300000000202051", "DE0212"),
        (r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", "a@b.com", "a@b"),
        ("(?i)^(yes|no)$", "YES", "maybe"),
        (r"^\w{1,40}$", "Größe", "a b"),
        ("b", "abc", "acd"),
        (r"^[\[\]{}]+$", "[{}]", "()"),
        ("^a$", "a", "a\n"),
        ("^.{1,1500}$", "x" * 1500, "x" * 1501),
    ],
)
def test_usual_patterns_work(pattern, good, bad):
    limited = with_output(output({"type": "string", "pattern": pattern}))
    assert limited.problem_with({"team": good}) is None
    assert "does not match" in limited.problem_with({"team": bad})


def test_a_text_too_long_for_a_cell_matches_no_pattern():
    matcher = patterns.compiled("a")
    assert matcher.is_in("a" * patterns.MAX_TEXT)
    assert not matcher.is_in("a" * (patterns.MAX_TEXT + 1))


def test_too_many_patterns_are_refused():
    many = {str(n): {"pattern": f"{n}a"} for n in range(schema.MAX_PATTERNS + 1)}
    assert "more than 32 different patterns" in refused_output(
        output({"type": "object", "properties": many})
    )
