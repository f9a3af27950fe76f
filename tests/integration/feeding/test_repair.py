"""Repair, against a real broker and both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Engine, update

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import claiming, settling
from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support.feeders import age, client, feeder
from tests.support.ledger import make_batch, statuses
from tests.support.refusals import only_reads


def test_rows_lost_with_the_broker_come_back(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 30, queue=queue.name)
    keeper = feeder(engine, queue)
    keeper.feed()
    age(engine)
    client(settings).flushall()
    assert keeper.repair() == 30
    assert keeper.feed() == 30
    assert sorted(queue.present()) == [("b", n) for n in range(30)]


def test_rows_that_are_merely_slow_are_left_alone(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 10, queue=queue.name)
    keeper = feeder(engine, queue)
    keeper.feed()
    age(engine)
    app = celery_app(settings)
    with app.connection_for_read() as connection:
        connection.default_channel.basic_get(queue.name)  # delivered, not acknowledged
        assert queue.depth() == (9, 1)
        assert keeper.repair() == 0


def test_repair_by_several_at_once_puts_each_row_back_once(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 40, queue=queue.name)
    feeder(engine, queue).feed()
    age(engine)
    client(settings).flushall()
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: feeder(engine, queue).repair(), range(4))) == 40
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: feeder(engine, queue).feed(), range(4))) == 40
    assert queue.depth() == (40, 0)


def test_a_vanished_workers_rows_come_back_when_no_other_worker_took_them_over(
    engine: Engine, queue: Queue
) -> None:
    make_batch(engine, 2, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0), ("b", 1)], holder="h", worker="w", lease=45)
        connection.execute(update(Row).where(Row.number == 0).values(lease_until=in_seconds(-3600)))
    assert feeder(engine, queue).repair() == 1
    assert statuses(engine) == ["pending", "running"]


def test_workers_that_lost_the_ledger_with_the_feeder_are_not_taken_for_gone_at_once(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr("rowfleet.feeding.steadiness.PATIENCE", 2.0)
    monkeypatch.setattr("rowfleet.feeding.feeder.REPAIR_INTERVAL", 0.0)
    make_batch(engine, 2, queue=queue.name)
    keeper = feeder(engine, queue)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0), ("b", 1)], holder="h", worker="w", lease=-3600)
    keeper.step()
    assert statuses(engine) == ["running", "running"]
    with engine.begin() as connection:  # one of them is back
        claiming.renew(connection, [("b", 0)], holder="h", lease=45)

    def stepped() -> list[str]:
        keeper.step()
        return statuses(engine)

    eventually(lambda: stepped() == ["running", "queued"])


def test_workers_whose_writes_were_refused_are_not_taken_for_gone_at_once(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """The feeder could read all the time."""
    monkeypatch.setattr("rowfleet.feeding.steadiness.PATIENCE", 1.5)
    monkeypatch.setattr("rowfleet.feeding.feeder.REPAIR_INTERVAL", 0.0)
    make_batch(engine, 1, queue=queue.name)
    keeper = feeder(engine, queue)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=-3600)
    with only_reads(engine):
        until = time.monotonic() + 2
        while time.monotonic() < until:
            with suppress(LedgerError):
                keeper.step()
            time.sleep(0.1)
    keeper.step()
    assert statuses(engine) == ["running"]

    def stepped() -> list[str]:
        keeper.step()
        return statuses(engine)

    eventually(lambda: stepped() == ["queued"])


def test_a_feeder_that_takes_longer_than_a_redelivery_still_finds_dead_workers(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """Its looks are further apart than what it takes for an absence of the ledger."""
    monkeypatch.setattr("rowfleet.feeding.steadiness.PATIENCE", 2.0)
    monkeypatch.setattr("rowfleet.feeding.feeder.REPAIR_INTERVAL", 1.5)
    make_batch(engine, 1, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=-3600)
    keeper = Feeder(engine, queue, window=1000, redelivery=1.0)

    def stepped() -> list[str]:
        keeper.step()
        return statuses(engine)

    eventually(lambda: stepped() == ["queued"], 15)


def test_a_finished_batch_is_closed(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 1, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
        done = records.Outcome(("b", 0), 1, "done", output={})
        settling.settle(connection, [done], holder="h")
    feeder(engine, queue).step()
    with engine.connect() as connection:
        from rowfleet.ledger.queries import progress

        assert progress.progress_of(connection, "b").status == "finished"


def test_messages_are_read_only_where_some_are_missing_or_now_and_then(
    engine: Engine, queue: Queue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowfleet.feeding.feeder.REPAIR_INTERVAL", 0.0)
    looks: list[int] = []
    present = queue.present

    def look() -> set[tuple[str, int]]:
        looks.append(1)
        return present()

    monkeypatch.setattr(queue, "present", look)
    make_batch(engine, 6, queue=queue.name)
    keeper = feeder(engine, queue)
    keeper.feed()
    age(engine)
    for _ in range(3):
        keeper.step()
    assert len(looks) == 1
    assert keeper.repair(thorough=False) == 0
    assert len(looks) == 1
    client(settings).ltrim(queue.name, 2, -1)
    assert keeper.repair(thorough=False) == 2
    assert len(looks) == 3  # and once more, in case they were on their way
    assert statuses(engine) == ["queued"] * 4 + ["pending"] * 2
