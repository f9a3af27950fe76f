"""A row is paid for, and is not paid for again: the lines where a slip costs money."""

from dataclasses import replace

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError

from rowfleet.analysis import Answer, Question, Transient, Usage
from rowfleet.feeding import steadiness
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row, Tally
from rowfleet.ledger.records import MAX_LOSSES, Outcome, Spent
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, finishing, settling, stopping
from rowfleet.openai_api.doubts import Doubts
from rowfleet.queue.client import Queue
from rowfleet.retry import RetryPolicy
from rowfleet.settings import Settings
from tests.support.ledger import ECHO, make_batch, statuses
from tests.support.no_texts import no_texts
from worker import group_commit
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row


def test_a_lease_that_ran_out_just_now_leaves_the_row_to_its_own_message(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is delivered again after `redelivery` seconds; a second one could be paid for."""
    monkeypatch.setattr("rowfleet.feeding.steadiness.PATIENCE", 0.0)
    make_batch(engine, 2, queue=settings.queue)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=-20)
        claiming.claim(connection, [("b", 1)], holder="h", worker="w", lease=-40)
    Feeder(engine, Queue(settings), window=10, redelivery=30).repair(patient=True)
    assert statuses(engine) == ["running", "pending"]


def test_a_feeder_that_has_just_begun_takes_no_worker_of_an_ended_batch_for_gone(
    engine: Engine, settings: Settings
) -> None:
    """The ledger may have been away from all: the worker has an answer, and renews its lease."""
    make_batch(engine, 1, queue=settings.queue)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=-40)
        stopping.stop(connection, "b", "a reason")
    keeper = Feeder(engine, Queue(settings), window=10, redelivery=30)
    keeper.repair(patient=True)
    assert statuses(engine) == ["running"]
    keeper.repair(patient=False)
    assert statuses(engine) == ["pending"]


def test_two_processes_do_not_both_take_the_last_row_that_the_budget_pays_for(
    postgres_url: str,
) -> None:
    first, second = open_ledger(postgres_url), open_ledger(postgres_url)
    migrate(first)
    make_batch(first, 3, max_cost=1.0)
    with first.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
        paid = Outcome(("b", 0), 1, "done", output={}, spent=Spent(calls=1, cost_usd=0.5))
        settling.settle(connection, [paid], holder="h")
    with first.begin() as connection:
        last = [("b", 1)]
        assert claiming.claim(connection, last, holder="h", worker="w", lease=60)
        other = second.connect()
        other.execute(text("SET lock_timeout = '300ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            claiming.claim(other, [("b", 2)], holder="i", worker="v", lease=60)
        other.close()
    with second.begin() as other:
        assert not claiming.claim(other, [("b", 2)], holder="i", worker="v", lease=60)
    assert statuses(first) == ["done", "running", "pending"]
    first.dispose()
    second.dispose()


def test_a_row_that_is_retried_by_hand_has_all_its_lives_and_tries_again(engine: Engine) -> None:
    make_batch(engine, 1)
    for _ in range(MAX_LOSSES - 1):
        with engine.begin() as connection:
            claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
            claiming.give_up(connection, worker="w", by="k")
    with engine.begin() as connection:
        row = claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)[("b", 0)]
        assert (row.losses, row.has_one_try_left) == (MAX_LOSSES - 1, True)
        again = Outcome(("b", 0), row.attempts, "pending", error="503")
        settling.settle(connection, [again], holder="h")
        row = claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)[("b", 0)]
        assert row.retries == 1
        failed = Outcome(("b", 0), row.attempts, "failed", error="refused")
        settling.settle(connection, [failed], holder="h")
        finishing.finish_batch(connection, "b")
    with engine.begin() as connection:
        assert stopping.retry_failed(connection, "b", None, by="cli") == [0]
    with engine.begin() as connection:
        row = claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)[("b", 0)]
    assert (row.losses, row.retries, row.has_one_try_left) == (0, 0, False)


def test_patience_after_an_outage_outlasts_the_longest_pause_of_a_worker() -> None:
    """A worker may sleep that long before it renews its leases, and then renews them once more."""
    assert group_commit.PATIENCE >= 2 * group_commit.LONGEST_PAUSE
    assert steadiness.PATIENCE >= 2 * group_commit.LONGEST_PAUSE


class _Says:
    name = "openai"

    def __init__(self, usage: Usage, error: Transient | None = None) -> None:
        self._usage, self._error = usage, error

    def answer(self, question: Question) -> Answer:
        if self._error is not None:
            raise self._error
        return Answer({"answer": "x", "score": 1}, self._usage)


def run(engine: Engine, analyzer: _Says) -> None:
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    run_row(
        "b",
        0,
        books=books,
        analyzer=lambda _name: analyzer,
        limits=Limits(RetryPolicy(0, 1), soft_time_limit=50),
        doubts=Doubts(),
        texts=no_texts,
    )


USED = Usage(
    calls=1, prompt_tokens=10_000, cached_tokens=8_000, completion_tokens=500, reasoning_tokens=300
)


def listed(model: str, **facts: str) -> float:
    """Return what the library's own table asks for `USED`."""
    used = PricedUsage(input_tokens=10_000, cache_read_tokens=8_000, output_tokens=500)
    found = calc_price(used, model, provider_id="openai", price_context=facts or None)
    return float(found.total_price)


def spent(engine: Engine) -> tuple[float, float, int, int]:
    with engine.connect() as connection:
        row = connection.execute(
            select(Row.cost_usd, Row.cached_tokens, Row.reasoning_tokens)
        ).one()
        tallied = connection.execute(select(Tally.cost_usd)).scalars().all()
    return float(row.cost_usd), sum(map(float, tallied)), row.cached_tokens, row.reasoning_tokens


@pytest.mark.parametrize(
    ("asked", "said", "facts"),
    [
        (None, None, {}),
        ("flex", None, {"service_tier": "flex"}),
        ("flex", "default", {}),  # the API may answer on another tier than was asked for
        (None, "priority", {"service_tier": "priority"}),
        ("auto", "flex", {"service_tier": "flex"}),
    ],
)
def test_an_answer_is_priced_by_its_tier_and_its_cached_tokens(
    engine: Engine, asked: str | None, said: str | None, facts: dict[str, str]
) -> None:
    options = ECHO.options.model_copy(update={"service_tier": asked})
    make_batch(engine, 1, recipe=ECHO.model_copy(update={"options": options}))
    run(engine, _Says(replace(USED, service_tier=said)))
    cost = listed("gpt-5-mini", **facts)
    assert spent(engine) == pytest.approx((cost, cost, 8_000, 300))
    if facts:
        assert cost != pytest.approx(listed("gpt-5-mini"))


def test_a_users_price_counts_cached_tokens_apart(engine: Engine) -> None:
    make_batch(engine, 1, price={"input": 2.0, "cached": 0.5, "output": 8.0})
    run(engine, _Says(USED))
    cost = (2_000 * 2.0 + 8_000 * 0.5 + 500 * 8.0) / 1e6
    assert spent(engine)[:2] == pytest.approx((cost, cost))


def test_what_a_failed_attempt_used_is_paid_for_too(engine: Engine) -> None:
    make_batch(engine, 1)
    with pytest.raises(RowFailed):
        run(engine, _Says(USED, Transient("the answer is not valid", usage=USED)))
    assert statuses(engine) == ["failed"]
    cost = listed("gpt-5-mini")
    assert spent(engine) == pytest.approx((cost, cost, 8_000, 300))
