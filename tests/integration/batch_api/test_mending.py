"""The Batch API's answers are judged, too; one to mend is asked for once more in a later part."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, select

from rowfleet.ledger.models import Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.recipes.recipe import Recipe
from rowfleet.retry import RetryPolicy
from tests.integration.batch_api.test_tier import calls, through
from tests.standin import Standin
from tests.support.ledger import ECHO, make_batch
from tests.support.replies import completion

CHECKS = [
    {"name": "score", "that": "answer.score < 200", "message": "too high", "else": "reask"},
    {"name": "name", "that": 'row.Name != "row 3"', "message": "is row 3"},
]


def too_high(**more: Any) -> dict[str, Any]:
    text = completion(content=json.dumps({"answer": "x", "score": 999}))
    return {"kind": "verbatim", "text": text, **more}


def batch(engine: Engine) -> None:
    recipe = {**ECHO.model_dump(mode="json"), "columns": ["Name"], "checks": CHECKS}
    make_batch(engine, 6, recipe=Recipe.model_validate(recipe), tier="batch")


def ends(engine: Engine) -> list[tuple[str, list[str]]]:
    with engine.connect() as connection:
        rows = connection.execute(select(Row.status, Row.review_reasons).order_by(Row.number)).all()
    return [(row.status, [each["name"] for each in row.review_reasons or ()]) for row in rows]


def test_an_answer_to_mend_is_asked_for_once_more_then_done_with_reasons(
    engine: Engine, standin: Standin
) -> None:
    batch(engine)
    standin.configure(faults=[too_high(rows=[0], attempts=1), too_high(rows=[1])])
    end = through(engine, standin)
    assert (end.status, end.done, end.failed, end.needs_review) == ("finished", 6, 0, 2)
    assert ends(engine) == [
        ("done", []),
        ("done", ["score"]),
        ("done", []),
        ("done", ["name"]),
        ("done", []),
        ("done", []),
    ]
    assert calls(standin) == {1: 4, 2: 2}


def test_without_tries_left_the_answer_is_done_with_its_reasons(
    engine: Engine, standin: Standin
) -> None:
    batch(engine)
    standin.configure(faults=[too_high(rows=[1])])
    through(engine, standin, retries=RetryPolicy(0, 0))
    assert ends(engine)[1] == ("done", ["score"])
    with engine.connect() as connection:
        assert progress_of(connection, "b").needs_review == 2
