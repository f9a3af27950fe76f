"""People are told a row's number in the sheet, wherever its header stands."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine

from rowfleet.analysis import Answer, Permanent, Question
from rowfleet.openai_api.doubts import Doubts
from rowfleet.retry import RetryPolicy
from submitter.batch_api import followed, session
from submitter.batch_api.client import BatchAPI
from submitter.batch_api.follower import Follower
from tests.standin import Standin
from tests.support.ledger import ECHO, make_batch
from tests.support.no_texts import no_texts
from worker.analyzers.openai.analyzer import OpenAIAnalyzer
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row

RULES = ECHO.model_copy(update={"analyzer": "rules"})
LIMITS = Limits(RetryPolicy(3, 1.0), 60)


class Analyzer:
    """Answers with the earlier rows that it is told of; refuses the row 15 of the sheet."""

    name = "rules"

    def answer(self, question: Question) -> Answer:
        if question.row_number == 15:
            raise Permanent("refused")
        return Answer({"answer": f"{list(question.duplicate_of)}", "score": 1})


def run(books: Bookkeeper, number: int) -> str:
    return run_row(
        "b",
        number,
        books=books,
        analyzer=lambda _: Analyzer(),
        limits=LIMITS,
        doubts=Doubts(),
        texts=no_texts,
    )


def test_results_failures_refusals_and_duplicates_name_rows_of_the_sheet(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_batch(engine, 4, identities=["x", "y", "x", None], recipe=RULES, first_row=12)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert run(books, 0) == "row 12: done"
    assert run(books, 0) == "row 12: it is done already"
    assert "row 12 of b not run: it is done already" in caplog.messages
    assert run(books, 2) == "row 14: done"
    with pytest.raises(RowFailed, match=r"^row 15: refused"):
        run(books, 3)
    assert run(books, 99) == "row: not in the ledger"
    with engine.connect() as connection:
        answered = connection.exec_driver_sql("SELECT output FROM rows WHERE number = 2").scalar()
    assert "[12]" in str(answered)


@pytest.mark.parametrize("tier", ["workers", "batch"])
def test_a_model_is_sent_the_number_that_the_sheet_shows(
    engine: Engine, standin: Standin, tier: str
) -> None:
    """Its answer may name the row, and a person reads it beside the sheet's own numbers."""
    standin.configure(keep_bodies=True)
    make_batch(engine, 2, recipe=ECHO, tier=tier, first_row=12)
    if tier == "batch":
        limits = followed.Limits(10, 1_000_000, 0.05, LIMITS.retries)
        api = BatchAPI("sk-test", standin.base_url, model="gpt-5-mini")
        session.follow(engine, Follower(engine, api, "b", limits), wait=True, show=lambda _: None)
    else:
        books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
        asks = OpenAIAnalyzer("sk-test", standin.base_url)
        for number in (0, 1):
            run_row(
                "b",
                number,
                books=books,
                analyzer=lambda _: asks,
                limits=LIMITS,
                doubts=Doubts(),
                texts=no_texts,
            )
    bodies = [call.body for call in standin.calls() if call.body]
    sent = {body["messages"][-1]["content"].split("\n")[0] for body in bodies}
    assert sent == {'<row number="12">', '<row number="13">'}
    with engine.connect() as connection:
        ended = connection.exec_driver_sql("SELECT number, status FROM rows ORDER BY number").all()
    assert [tuple(row) for row in ended] == [(0, "done"), (1, "done")]
