"""An answer that fails a check is asked for once more, and a paid answer is never thrown away."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rowfleet.analysis import Permanent, Question
from rowfleet.answers.reasons import Reason
from rowfleet.recipes.recipe import Recipe
from tests.standin import Standin
from tests.support.ledger import ECHO
from tests.support.replies import completion
from worker.analyzers.openai.analyzer import OpenAIAnalyzer

MESSAGE = "the score is not one of the list"


def recipe(otherwise: str) -> Recipe:
    check = {"name": "score", "that": "answer.score < 200", "message": MESSAGE, "else": otherwise}
    return Recipe.model_validate({**ECHO.model_dump(mode="json"), "checks": [check]})


def answered(score: int) -> dict[str, object]:
    text = completion(content=json.dumps({"answer": "x", "score": score}))
    return {"kind": "verbatim", "text": text}


@pytest.fixture(scope="module")
def running() -> Iterator[Standin]:
    with Standin.lent(keep_bodies=True) as standin:
        yield standin


@pytest.fixture
def standin(running: Standin) -> Standin:
    running.configure(faults=[])
    running.clear()
    return running


@pytest.fixture
def analyzer(standin: Standin) -> OpenAIAnalyzer:
    return OpenAIAnalyzer("sk-right", standin.base_url)


def question(otherwise: str = "reask") -> Question:
    return Question(recipe(otherwise), "gpt-5-mini", 12, {"Name": "A"}, time_limit=20)


def test_the_model_is_told_which_check_failed_and_answers_once_more(
    analyzer: OpenAIAnalyzer, standin: Standin
) -> None:
    standin.configure(faults=[{**answered(999), "attempts": 1}])
    answer = analyzer.answer(question())
    assert answer.output["score"] < 200
    assert answer.reasons == ()
    assert answer.usage.calls == 2
    _, second = standin.calls()
    assert second.body is not None
    said, told = (message["content"] for message in second.body["messages"][-2:])
    assert json.loads(said)["score"] == 999
    assert MESSAGE in told


def test_what_still_fails_is_done_with_reasons(analyzer: OpenAIAnalyzer, standin: Standin) -> None:
    standin.configure(faults=[answered(999)])
    answer = analyzer.answer(question())
    assert answer.output["score"] == 999
    assert answer.reasons == (Reason("score", MESSAGE, "score"),)
    assert (answer.usage.calls, standin.summary()["calls"]) == (2, 2)


@pytest.mark.parametrize(
    "second",
    ["invalid_json", "server_error", "refusal", "length", "drop", "insufficient_quota"],
)
def test_an_answer_whose_mending_fails_is_kept(
    analyzer: OpenAIAnalyzer, standin: Standin, second: str
) -> None:
    standin.configure(faults=[{**answered(999), "attempts": 1}, {"kind": second}])
    answer = analyzer.answer(question())
    assert answer.output["score"] == 999
    assert answer.reasons == (Reason("score", MESSAGE, "score"),)
    assert standin.summary()["calls"] == 2
    counted = answer.usage.calls + answer.usage.possibly_billed
    assert counted == (1 if second in ("server_error", "insufficient_quota") else 2)


def test_a_check_to_review_or_to_fail_costs_no_second_call(
    analyzer: OpenAIAnalyzer, standin: Standin
) -> None:
    standin.configure(faults=[answered(999)])
    assert analyzer.answer(question("review")).reasons == (Reason("score", MESSAGE, "score"),)
    with pytest.raises(Permanent, match=f"the answer failed a check: score: {MESSAGE}") as error:
        analyzer.answer(question("fail"))
    assert error.value.usage.calls == 1
    assert standin.summary()["calls"] == 2
