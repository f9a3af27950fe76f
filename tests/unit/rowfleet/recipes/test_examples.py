"""A recipe's examples stand before each row, the same for all, and are checked when it is read."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rowfleet.analysis import Question
from rowfleet.openai_api import requests
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from tests.support.recipes import GOOD, refusal

EXAMPLES: list[dict[str, Any]] = [
    {"row": {"Subject": "the disk is <full> & slow"}, "answer": {"team": "storage"}},
    {"row": {"Subject": 7}, "answer": {"team": "billing"}},
]


def recipe(**changes: Any) -> Recipe:
    return loading.parse(json.dumps({**GOOD, "examples": EXAMPLES, **changes}), "good.yaml")


def question(number: int, subject: str, **changes: Any) -> Question:
    return Question(recipe(**changes), "gpt-5-mini", number, {"Subject": subject})


def asked(number: int, subject: str, **changes: Any) -> list[dict[str, str]]:
    return requests.messages(question(number, subject, **changes))


def test_examples_stand_between_the_prompt_and_the_row() -> None:
    system, *shown, row = asked(5, "the printer")
    assert system["role"] == "system"
    assert requests.EXAMPLES_RULE in system["content"]
    assert shown == [
        {
            "role": "user",
            "content": '<example>\n{"Subject": "the disk is \\u003cfull\\u003e \\u0026 slow"}\n'
            "</example>",
        },
        {"role": "assistant", "content": '{"team": "storage"}'},
        {"role": "user", "content": '<example>\n{"Subject": 7}\n</example>'},
        {"role": "assistant", "content": '{"team": "billing"}'},
    ]
    assert row == {
        "role": "user",
        "content": '<row number="5">\n{"Subject": "the printer"}\n</row>',
    }


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_all_before_the_row_is_the_same_for_every_row_so_that_it_is_cached(api: str) -> None:
    bodies = []
    for number in (5, 6):
        about = question(number, f"row {number}", api=api)
        bodies.append(requests.encoded(requests.request(about, requests.messages(about))))
    before = [body.partition(b"<row number")[0] for body in bodies]
    assert before[0] == before[1]
    assert before[0].count(b"<example>") == 3  # the rule names it


def test_without_examples_a_request_is_as_before() -> None:
    messages = asked(5, "the printer", examples=[])
    assert len(messages) == 2
    assert messages[0]["content"].endswith(requests.DATA_RULE)
    plain = loading.parse(json.dumps(GOOD), "good.yaml")
    assert recipe(examples=[]).canonical() == plain.canonical()


def test_examples_are_a_part_of_the_question() -> None:
    assert recipe().question() != recipe(examples=EXAMPLES[:1]).question()
    recorded = loading.recorded(recipe().snapshot())
    assert recorded.canonical() == recipe().canonical()


def changed(place: int, part: str, value: Any) -> list[dict[str, Any]]:
    made = copy.deepcopy(EXAMPLES)
    made[place][part] = value
    return made


@pytest.mark.parametrize(
    ("examples", "sentence"),
    [
        (changed(1, "answer", {"team": 7}), "examples, entry 2: answer is not what output asks"),
        (changed(0, "answer", {}), "examples, entry 1: answer is not what output asks for: "),
        (
            changed(0, "answer", {"team": "x", "more": 1}),
            "examples, entry 1: answer is not what output asks for: ",
        ),
        (
            changed(1, "row", {"Subjct": "x"}),
            "examples, entry 2: row names 'Subjct', which is no column",
        ),
        (changed(1, "row", {"Subject": [1]}), "examples"),
        (changed(0, "answr", {}), "answr"),
        (EXAMPLES * 51, "examples has more than 100 entries"),
        ("none", "examples"),
    ],
)
def test_a_wrong_example_is_refused_in_one_sentence(examples: Any, sentence: str) -> None:
    assert sentence in refusal(json.dumps({**GOOD, "examples": examples}))
