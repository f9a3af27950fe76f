"""Feeding and repair, against a real broker and both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from sqlalchemy import Engine, update

from rowfleet.errors import ServiceError
from rowfleet.feeder import Feeder
from rowfleet.ledger import transitions
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Row
from rowfleet.queue import TASK_NAME, Queue, celery_app
from rowfleet.settings import Settings
from tests.ledger_helpers import make_batch, statuses


@pytest.fixture
def queue(settings: Settings) -> Queue:
    return Queue(settings)


def feeder(engine: Engine, queue: Queue, window: int = 1000) -> Feeder:
    return Feeder(engine, queue, window=window, redelivery=75)


def age(engine: Engine, seconds: float = 3600) -> None:
    """Let all queued rows have been queued for a while."""
    with engine.begin() as connection:
        connection.execute(
            update(Row).where(Row.status == "queued").values(queued_at=in_seconds(-seconds))
        )


def client(settings: Settings) -> redis.Redis:
    assert settings.redis_url
    return redis.Redis.from_url(settings.redis_url.get_secret_value())


def test_the_window_bounds_the_queue_and_is_topped_up(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 50, queue=queue.name)
    assert feeder(engine, queue, window=20).feed() == 20
    assert queue.depth() == (20, 0)
    assert feeder(engine, queue, window=20).feed() == 0
    client(settings).ltrim(queue.name, 5, -1)
    assert feeder(engine, queue, window=20).feed() == 5


def test_batches_share_the_window(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 100, batch_id="large", queue=queue.name)
    make_batch(engine, 5, batch_id="small", queue=queue.name)
    make_batch(engine, 5, batch_id="elsewhere", queue="another")
    assert feeder(engine, queue, window=40).feed() == 40
    assert statuses(engine, "small").count("queued") == 5
    assert statuses(engine, "large").count("queued") == 35
    assert statuses(engine, "elsewhere").count("queued") == 0


def test_messages_are_what_celery_itself_would_send(queue: Queue, settings: Settings) -> None:
    queue.push("b", [7])
    app = celery_app(settings)
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(queue.name)
    assert message.headers["task"] == TASK_NAME
    assert message.headers["id"] == "b.7"
    assert message.content_type == "application/json"
    args, kwargs, _embed = message.decode()
    assert (args, kwargs) == (["b", 7], {})


def test_rows_are_delivered_in_their_order(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 3, queue=queue.name)
    feeder(engine, queue).feed()
    app = celery_app(settings)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        got = [channel.basic_get(queue.name).decode()[0][1] for _ in range(3)]
    assert got == [0, 1, 2]


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


def test_a_vanished_workers_rows_come_back_when_nobody_took_them_over(
    engine: Engine, queue: Queue
) -> None:
    make_batch(engine, 2, queue=queue.name)
    with engine.begin() as connection:
        transitions.claim(connection, [("b", 0), ("b", 1)], holder="h", worker="w", lease=45)
        connection.execute(update(Row).where(Row.number == 0).values(lease_until=in_seconds(-3600)))
    assert feeder(engine, queue).repair() == 1
    assert statuses(engine) == ["pending", "running"]


def test_the_turn_to_feed_is_one_process_at_a_time(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 5, queue=queue.name)
    first, second = feeder(engine, queue), feeder(engine, queue)
    first.step()
    make_batch(engine, 5, batch_id="c", queue=queue.name)
    second.step()
    assert statuses(engine, "c").count("queued") == 0
    first.step()
    assert statuses(engine, "c").count("queued") == 5


def test_a_finished_batch_is_closed(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 1, queue=queue.name)
    with engine.begin() as connection:
        transitions.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
        done = transitions.Outcome(("b", 0), 1, "done", output={})
        transitions.settle(connection, [done], holder="h")
    feeder(engine, queue).step()
    with engine.connect() as connection:
        from rowfleet.ledger import queries

        assert queries.progress(connection, "b").status == "finished"


def test_a_broker_that_is_away_is_named_without_its_password(settings: Settings) -> None:
    away = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://:hunter2@127.0.0.1:1/0")}
    )
    with pytest.raises(ServiceError) as caught:
        Queue(away).check()
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_feeding_while_another_feeds_sends_each_row_once(
    engine: Engine, queue: Queue, eventually: Callable[..., None]
) -> None:
    make_batch(engine, 200, queue=queue.name)
    keepers = [threading.Thread(target=feeder(engine, queue).feed) for _ in range(4)]
    for keeper in keepers:
        keeper.start()
    for keeper in keepers:
        keeper.join()
    assert queue.depth() == (200, 0)
    assert len(queue.present()) == 200
