"""Rows of batches that do not run any more reach their end, whoever dies or comes too late."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text, update

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import fleet
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import (
    batch_api_parts,
    claiming,
    feeding,
    finishing,
    in_chunks,
    stopping,
)
from rowfleet.ledger.transitions.settling import settle
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from submitter.progress import watching
from tests.support.ledger import make_batch, statuses


@pytest.fixture
def queue(settings: Settings) -> Queue:
    return Queue(settings)


def feeder(engine: Engine, queue: Queue) -> Feeder:
    return Feeder(engine, queue, window=1000, redelivery=75)


def die(engine: Engine, *numbers: int) -> None:
    """Claim rows for a worker whose leases have run out long ago."""
    with engine.begin() as connection:
        keys = [("b", number) for number in numbers]
        assert claiming.claim(connection, keys, holder="dead", worker="w", lease=-3600)


def end_batch(engine: Engine, how: str) -> None:
    with engine.begin() as connection:
        match how:
            case "cancelled":
                assert stopping.cancel(connection, "b", by="k")
            case "stopped":
                assert stopping.stop(connection, "b", "the key is wrong")
            case _:
                row = claiming.claim(
                    connection, [("b", 3)], holder="h", worker="w", lease=60
                ).popitem()[1]
                spent = Spent(1, 1, 0, 1, 0, 1.5)
                done = Outcome(row.key, row.attempts, "done", output={}, spent=spent)
                settle(connection, [done], holder="h")
                assert finishing.exhaust(connection, "b", by="k")


ENDS = {"cancelled": "cancelled", "stopped": "pending", "budget_exhausted": "pending"}


@pytest.mark.parametrize("how", ENDS)
def test_rows_of_a_dead_worker_end_though_their_batch_does_not_run(
    engine: Engine, queue: Queue, how: str
) -> None:
    make_batch(engine, 4, queue=queue.name, max_cost=1.0 if how == "budget_exhausted" else None)
    feeder(engine, queue).feed()
    die(engine, 0, 1)
    end_batch(engine, how)
    end = watching.until_ended(engine, "b", show=lambda _: None, feeder=_Impatient(engine, queue))
    assert (end.status, end.running, end.queued) == (how, 0, 0)
    assert statuses(engine)[:3] == [ENDS[how]] * 3
    assert end.cancelled == statuses(engine).count("cancelled")
    assert feeder(engine, queue).repair() == 0


class _Impatient(Feeder):
    """A feeder that has had the ledger for long."""

    def __init__(self, engine: Engine, queue: Queue) -> None:
        super().__init__(engine, queue, window=1000, redelivery=75)

    def step(self) -> None:
        self.repair()


def test_a_redelivered_row_of_a_cancelled_batch_ends_with_its_message(engine: Engine) -> None:
    make_batch(engine, 1)
    die(engine, 0)
    end_batch(engine, "cancelled")
    with engine.begin() as connection:
        assert not claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
        assert progress_of(connection, "b").cancelled == 1
    assert statuses(engine) == ["cancelled"]


@pytest.mark.parametrize("move", ["settle", "postpone", "give_back", "expire", "put_back"])
def test_a_row_that_goes_back_ends_with_its_cancelled_batch(engine: Engine, move: str) -> None:
    make_batch(engine, 1)
    if move == "put_back":
        with engine.begin() as connection:
            feeding.feed(connection, "b", 1)
            # As if it had been fed while the cancel ran.
            connection.execute(text("UPDATE batches SET status = 'cancelled'"))
    else:
        die(engine, 0)
        end_batch(engine, "cancelled")
    with engine.begin() as connection:
        match move:
            case "settle":
                again = Outcome(("b", 0), 1, "pending", error="503", delay=60)
                settle(connection, [again], holder="dead")
            case "postpone":
                claiming.postpone(connection, ("b", 0), holder="dead", delay=60)
            case "give_back":
                batch_api_parts.give_back(connection, "b", claim="dead")
            case "expire":
                claiming.expire(connection, "b", grace=0, by="k")
            case "put_back":
                feeding.put_back(connection, "b", [0], by="k")
        assert progress_of(connection, "b").cancelled == 1
    assert statuses(engine) == ["cancelled"]


@pytest.fixture
def postgres_engine(postgres_url: str) -> Engine:
    engine = open_ledger(postgres_url, connections=4)
    migrate(engine)
    return engine


def test_a_retry_that_was_settled_while_the_batch_was_cancelled_ends(
    postgres_engine: Engine, redis_url: str, postgres_url: str
) -> None:
    settings = Settings(redis_url=redis_url, database_url=postgres_url, queue="q-ends")
    engine, queue = postgres_engine, Queue(settings)
    make_batch(engine, 3, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
    with engine.begin() as settling:
        again = Outcome(("b", 0), 1, "pending", error="503", delay=60)
        settle(settling, [again], holder="h")
        with engine.begin() as cancelling:
            assert stopping.cancel(cancelling, "b", by="k")
        assert in_chunks.sweep(engine, "b", by="k") == 0  # it waits for no lock
    assert statuses(engine) == ["pending", "cancelled", "cancelled"]
    feeder(engine, queue).repair()
    assert statuses(engine) == ["cancelled"] * 3
    with engine.connect() as connection:
        assert progress_of(connection, "b").cancelled == 3


def test_a_batch_is_not_finished_while_failed_rows_are_being_retried(
    postgres_engine: Engine, eventually: Callable[..., None]
) -> None:
    """The one that finishes waits, and then looks at the rows again."""
    engine = postgres_engine
    make_batch(engine, 1)
    die(engine, 0)
    with engine.begin() as connection:
        bad = Outcome(("b", 0), 1, "failed", error="bad")
        settle(connection, [bad], holder="dead")
    finished: list[bool] = []

    def finish() -> None:
        with engine.begin() as connection:
            finished.append(finishing.finish_batch(connection, "b"))

    def waits() -> bool:
        with engine.connect() as connection:
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            return bool(connection.execute(waiting).scalar())

    with engine.begin() as retrying:
        assert stopping.retry_failed(retrying, "b", None, by="k") == [0]
        other = threading.Thread(target=finish)
        other.start()
        eventually(waits)
    other.join()
    assert finished == [False]
    with engine.connect() as connection:
        assert progress_of(connection, "b").status == "running"


def test_a_large_batch_is_cancelled_in_steps_that_another_may_finish(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batch(engine, 30, queue=queue.name, sent=["a", "b", "c"] * 10)
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 4)
    with engine.begin() as connection:
        feeding.feed(connection, "b", 2)
        assert stopping.cancel(connection, "b", by="k", limit=4)
        assert feeding.feed(connection, "b", 30) == []
    assert statuses(engine).count("cancelled") == 4
    # The process dies here. The fleet goes on, and so does the same command.
    with engine.begin() as connection:
        assert stopping.sweep(connection, "b", by="k", limit=4) == 4
        assert fleet.unsettled_batches(connection, queue.name) == ["b"]
    feeder(engine, queue).repair()
    assert statuses(engine) == ["cancelled"] * 30
    with engine.connect() as connection:
        assert progress_of(connection, "b").cancelled == 30
        assert fleet.unsettled_batches(connection, queue.name) == []


def test_many_failed_rows_are_retried_in_steps_and_none_is_retried_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batch(engine, 10)
    die(engine, *range(10))
    with engine.begin() as connection:
        bad = [Outcome(("b", n), 1, "failed", error="bad") for n in range(10)]
        settle(connection, bad, holder="dead")
        assert finishing.finish_batch(connection, "b")
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 4)
    assert in_chunks.retry_failed(engine, "b", None, by="k") == list(range(10))
    with engine.connect() as connection:
        progress = progress_of(connection, "b")
    assert (progress.status, progress.pending, progress.failed) == ("running", 10, 0)


def test_a_batch_that_is_cancelled_while_it_is_retried_stays_cancelled(engine: Engine) -> None:
    make_batch(engine, 2)
    die(engine, 0, 1)
    with engine.begin() as connection:
        bad = [Outcome(("b", n), 1, "failed", error="bad") for n in range(2)]
        settle(connection, bad, holder="dead")
        assert stopping.retry_failed(connection, "b", None, by="k", limit=1) == [0]
        assert stopping.cancel(connection, "b", by="k")
        assert stopping.retry_failed(connection, "b", None, by="k", after=0) == []
    assert statuses(engine) == ["cancelled", "failed"]


def test_a_batch_whose_last_rows_end_when_its_budget_is_spent_is_finished(
    engine: Engine, queue: Queue
) -> None:
    make_batch(engine, 4, queue=queue.name, max_cost=1.0)
    die(engine, 0, 1, 2)
    end_batch(engine, "budget_exhausted")
    with engine.begin() as connection:
        late = [Outcome(("b", n), 1, "done", output={}) for n in range(3)]
        settle(connection, late, holder="dead")
    feeder(engine, queue).repair()
    with engine.connect() as connection:
        assert progress_of(connection, "b").status == "finished"


def test_the_autoscaler_learns_of_a_dead_workers_row_of_a_cancelled_batch(
    engine: Engine, queue: Queue
) -> None:
    make_batch(engine, 2, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
        stopping.cancel(connection, "b", by="k")
        left = fleet.unsettled_batches(connection, queue.name)
        seconds = fleet.seconds_to_sweep(connection, left, 75)
        assert seconds is not None
        assert 100 < seconds <= 120
        # Rows that a person is waited for are no reason to wake a worker.
        connection.execute(update(Row).values(status="pending", lease_until=in_seconds(0)))
        connection.execute(text("UPDATE batches SET status = 'stopped'"))
        assert fleet.unsettled_batches(connection, queue.name) == []
