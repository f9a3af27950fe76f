"""A row that is done keeps the reasons why a person should look at it, and the tallies count it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from rowfleet.answers import reasons
from rowfleet.answers.reasons import Reason
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.statuses import RowReview
from rowfleet.ledger.transitions import claiming, feeding, settling
from tests.support.ledger import make_batch

REASONS = (Reason("cited", 'no such law: "RCW 1\x00"', "citation"), Reason("sum", "is off"))


def settle(engine: Engine, number: int, review: RowReview | None, *why: Reason) -> None:
    key = ("b", number)
    with engine.begin() as connection:
        feeding.feed(connection, "b", 10)
        claimed = claiming.claim(connection, [key], holder="h", worker="w", lease=60)
        done = Outcome(
            key, claimed[key].attempts, "done", output={"a": 1}, review=review, reasons=why
        )
        assert settling.settle(connection, [done], holder="h") == {key}


def test_a_row_keeps_its_reasons_and_the_tallies_count_those_that_need_review(
    engine: Engine,
) -> None:
    make_batch(engine, rows=4)
    settle(engine, 0, RowReview.NEEDS_REVIEW, *REASONS)
    settle(engine, 1, RowReview.AUTO_APPROVED)
    settle(engine, 2, None)
    with engine.connect() as connection:
        rows = list(recorded_rows(connection, "b"))
        progress = progress_of(connection, "b")
    assert [row.review for row in rows] == ["needs_review", "auto_approved", None, None]
    kept = reasons.decode(rows[0].review_reasons)
    assert [(r.name, r.field) for r in kept] == [("cited", "citation"), ("sum", None)]
    assert "\x00" not in kept[0].message
    assert rows[1].review_reasons is None
    assert (progress.done, progress.needs_review) == (3, 1)


def test_a_row_that_follows_another_needs_review_as_that_does(engine: Engine) -> None:
    make_batch(engine, rows=3, sent=["same"] * 3)
    settle(engine, 0, RowReview.NEEDS_REVIEW, *REASONS)
    with engine.connect() as connection:
        found = connection.execute(
            select(Row.review, Row.review_reasons, Row.status).order_by(Row.number)
        ).all()
        progress = progress_of(connection, "b")
    assert len(set(map(repr, found))) == 1
    assert found[2].review == "needs_review"
    assert progress.needs_review == 3


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_a_row_that_is_not_done_needs_no_review(engine: Engine, status: str) -> None:
    make_batch(engine, rows=1)
    with engine.begin() as connection:
        feeding.feed(connection, "b", 10)
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
        ended = Outcome(("b", 0), 1, status, error="503")
        settling.settle(connection, [ended], holder="h")
        assert connection.execute(select(Row.review)).scalars().all() == [None]
        assert progress_of(connection, "b").needs_review == 0
