"""Rows come by money x doubt, by what a recipe's answer and columns are called."""

from __future__ import annotations

from typing import Any

import pytest

from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from submitter.review.ranking import Ranking, ranking_of


def recipe(**properties: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "prompt": "p",
            "output": {"type": "object", "properties": {"x": {"type": "string"}} | properties},
        }
    )


def test_the_bundled_recipe_is_ranked_by_refund_amount_and_confidence() -> None:
    ranking = ranking_of(loading.bundled(), ["Vendor", "Amount", "Tax", "Tax_Rate"])
    assert ranking == Ranking("confidence", 100.0, "estimated_refund", "Amount")
    sure = {"estimated_refund": 100, "confidence": 90}
    assert ranking.priority(sure, {"Amount": 5_000}) == pytest.approx(10)
    assert ranking.priority(sure | {"confidence": 10}, {}) == pytest.approx(90)
    assert ranking.priority(sure | {"confidence": 100}, {}) == pytest.approx(1)
    # Without a refund the amount counts, and without a confidence the doubt is whole.
    assert ranking.priority({"estimated_refund": 0}, {"Amount": -50}) == 50
    assert ranking.priority(None, {"Amount": "1.234,50 EUR"}) == 0


@pytest.mark.parametrize(
    ("schema", "certain"),
    [
        ({"type": "number"}, 1.0),
        ({"type": "number", "maximum": 10}, 10.0),
        ({"type": "integer"}, 100.0),
        ({"type": ["integer", "null"], "maximum": 5}, 5.0),
    ],
)
def test_certainty_is_the_highest_confidence(schema: Any, certain: float) -> None:
    ranking = ranking_of(recipe(Confidence=schema), [])
    assert (ranking.confidence, ranking.certain) == ("Confidence", certain)
    assert ranking.priority({"Confidence": certain / 4}, {}) == 0.75


def test_percent_without_a_maximum_is_no_certainty_beyond_one() -> None:
    ranking = ranking_of(recipe(confidence={"type": "number"}), [])
    assert ranking.priority({"confidence": 60}, {}) == pytest.approx(0.4)


def test_a_recipe_without_either_keeps_the_order_of_the_sheet() -> None:
    ranking = ranking_of(recipe(), ["Name", "Tax Rate"])
    assert ranking == Ranking()
    assert str(ranking) == ""
    assert ranking.priority({"x": "y"}, {"Name": 7}) == 1.0
    assert ranking.priority({"x": True}, {}) == 1.0
