"""What a person decides on a row is kept for ever, and the newest of it counts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, select

from rowfleet.answers.reasons import Reason
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import reviews
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.queries.rows import recorded_rows, rows_by_number
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.review_records import Decided, NewDecision
from rowfleet.ledger.statuses import RowReview, Verdict
from rowfleet.ledger.transitions import claiming, feeding, in_chunks, reviewing, settling
from tests.support.ledger import make_batch

ANSWER = {"answer": "x", "score": 1}
REASON = Reason("low", "the confidence is low")


@pytest.fixture
def answered(engine: Engine) -> Engine:
    """A batch `b`: rows 0 and 1 need review, 2 is approved by rule, 3 has failed, 4 waits."""
    make_batch(engine, rows=5)
    with engine.begin() as connection:
        feeding.feed(connection, "b", 4)
        keys = [("b", number) for number in range(4)]
        claiming.claim(connection, keys, holder="h", worker="w", lease=60)
        outcomes = [
            Outcome(key, 1, "done", output=ANSWER, review="needs_review", reasons=(REASON,))
            for key in keys[:2]
        ]
        outcomes += [
            Outcome(keys[2], 1, "done", output=ANSWER, review=RowReview.AUTO_APPROVED),
            Outcome(keys[3], 1, "failed", error="refused"),
        ]
        settling.settle(connection, outcomes, holder="h")
    return engine


def new(number: int, verdict: str = "approve", seen: int = 0, **values: Any) -> NewDecision:
    values.setdefault("after", None if verdict == "reject" else ANSWER)
    return NewDecision(number, seen, Verdict(verdict), "Ann", **values)


def decide(engine: Engine, *decisions: NewDecision, file: str = "f", **how: Any) -> Decided:
    with engine.begin() as connection:
        return reviewing.decide(connection, "b", decisions, file_hash=file, by="cli", **how)


def kept(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [
            (each.number, each.version, each.verdict, each.reviewer, each.before, each.after)
            for each in reviews.history(connection, "b")
        ]


def states(engine: Engine) -> tuple[list[str | None], int]:
    """Return the rows' reviews, and how many rows need one by the tallies."""
    with engine.connect() as connection:
        rows = connection.execute(select(Row.review).order_by(Row.number)).scalars()
        return list(rows), progress_of(connection, "b").needs_review


def test_decisions_say_who_what_before_and_after(answered: Engine) -> None:
    other = {"answer": "y", "score": 1}
    made = decide(
        answered, new(0), new(1, "correct", after=other, note="seen the file"), new(2, "reject")
    )
    assert made == Decided(made=(0, 1, 2))
    assert kept(answered) == [
        (0, 1, "approve", "Ann", ANSWER, ANSWER),
        (1, 1, "correct", "Ann", ANSWER, other),
        (2, 1, "reject", "Ann", ANSWER, None),
    ]
    assert states(answered) == (["reviewed", "reviewed", "reviewed", None, None], 0)
    with answered.connect() as connection:
        newest = reviews.newest_between(connection, "b", 1, 1)[1]
        assert (newest.note, newest.file_hash) == ("seen the file", "f")
        assert reviews.is_reviewed(connection, "b")
        outputs = connection.execute(select(Row.output).where(Row.number < 3)).scalars()
        assert list(outputs) == [ANSWER] * 3, "what the model answered is kept"


def test_the_same_again_changes_nothing(answered: Engine) -> None:
    decide(answered, new(0))
    before = kept(answered)
    assert decide(answered, new(0), file="g") == Decided(unchanged=(0,))
    assert decide(answered, new(0, seen=1), file="g") == Decided(unchanged=(0,))
    assert kept(answered) == before


def test_one_is_not_true(answered: Engine) -> None:
    decide(answered, new(0, "correct", after={"score": 1}))
    again = decide(answered, new(0, "correct", seen=1, after={"score": True}))
    assert again == Decided(made=(0,))


def test_a_later_decision_is_not_overwritten_unless_that_is_meant(answered: Engine) -> None:
    decide(answered, new(0))
    refused = decide(answered, new(1), new(0, "reject"))
    assert [each.reviewer for each in refused.later] == ["Ann"]
    assert len(kept(answered)) == 1, "nothing of a refused import is recorded"
    assert states(answered)[1] == 1
    assert decide(answered, new(1), new(0, "reject"), supersede=True).made == (1, 0)
    assert decide(answered, new(0, "correct", seen=2)).made == (0,)
    assert [each[1:3] for each in kept(answered) if each[0] == 0] == [
        (1, "approve"),
        (2, "reject"),
        (3, "correct"),
    ]
    assert [each[4:] for each in kept(answered) if each[0] == 0][2] == (None, ANSWER)


@pytest.mark.parametrize("number", [3, 4, 9])
def test_only_a_row_that_is_done_can_be_decided(answered: Engine, number: int) -> None:
    assert decide(answered, new(0), new(number)) == Decided(undone=(number,))
    assert kept(answered) == []


def test_a_retry_of_everything_changes_no_decision(answered: Engine) -> None:
    decide(answered, new(0), new(1, "correct", after={"answer": "y"}))
    before = kept(answered), states(answered)
    assert in_chunks.retry_failed(answered, "b", None, by="cli") == [3]
    assert (kept(answered), states(answered)) == before


def test_rows_wait_by_reason(answered: Engine) -> None:
    decide(answered, new(0))
    with answered.connect() as connection:
        assert reviews.waiting_by_reason(connection, "b") == (1, {"low": 1})
        assert reviews.numbers_to_review(connection, "b") == [1]
        assert reviews.numbers_to_review(connection, "b", every=True) == [0, 1, 2]


def test_final_values_are_those_of_the_newest_decision(answered: Engine) -> None:
    other = {"answer": "y", "score": 2}
    decide(answered, new(0), new(1, "correct", after=other), new(2))
    decide(answered, new(2, "reject", seen=1))
    with answered.connect() as connection:
        assert reviews.count_decided(connection, "b") == 3
        assert reviews.numbers_with_values(connection, "b") == [0, 1]
        rows = rows_by_number(connection, "b", [0, 1, 2, 4, 9])
        assert {number: row.values for number, row in rows.items()} == {
            0: ANSWER,
            1: other,
            2: None,
            4: None,
        }
        assert [row.values for row in recorded_rows(connection, "b", chunk=2)] == [
            ANSWER,
            other,
            None,
            None,
            None,
        ]


def test_of_two_at_once_one_sees_what_the_other_decided(answered: Engine) -> None:
    """Both have seen the row undecided; the second one is told of the first."""
    found: list[Decided] = []
    with answered.begin() as connection:
        reviewing.decide(connection, "b", [new(0)], file_hash="f", by="cli")
        other = threading.Thread(
            target=lambda: found.append(decide(answered, new(0, "reject"), file="g"))
        )
        other.start()
        other.join(0.3)
        assert not found
    other.join(30)
    assert [each.verdict for each in found[0].later] == ["approve"]
    assert len(kept(answered)) == 1
