"""Feeding, against a real broker and both databases."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from rowfleet.errors import ServiceError
from rowfleet.feeding.feeder import FEED_CHUNK
from rowfleet.ledger import records
from rowfleet.ledger.transitions import claiming, settling, stopping
from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.queue.message import TASK_NAME
from rowfleet.settings import Settings
from tests.support.feeders import client, feeder
from tests.support.ledger import make_batch, statuses


def test_the_window_bounds_the_queue_and_is_topped_up(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 50, queue=queue.name)
    assert feeder(engine, queue, window=20).feed() == 20
    assert queue.depth() == (20, 0)
    assert feeder(engine, queue, window=20).feed() == 0
    client(settings).ltrim(queue.name, 5, -1)
    assert feeder(engine, queue, window=20).feed() == 5


def test_more_rows_than_one_transaction_takes_are_fed_in_one_step(
    engine: Engine, queue: Queue
) -> None:
    make_batch(engine, FEED_CHUNK + 1, queue=queue.name)
    assert feeder(engine, queue, window=2 * FEED_CHUNK).feed() == FEED_CHUNK + 1


def test_batches_share_the_window(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 100, batch_id="large", queue=queue.name)
    make_batch(engine, 5, batch_id="small", queue=queue.name)
    make_batch(engine, 5, batch_id="elsewhere", queue="another")
    assert feeder(engine, queue, window=40).feed() == 40
    assert statuses(engine, "small").count("queued") == 5
    assert statuses(engine, "large").count("queued") == 35
    assert statuses(engine, "elsewhere").count("queued") == 0


def delivered(settings: Settings, count: int) -> list[tuple[str, int]]:
    """Take ``count`` messages as a worker would, and return their rows in order."""
    rows: list[tuple[str, int]] = []
    app = celery_app(settings)
    with app.connection_for_read() as connection, app.amqp.TaskConsumer(connection) as consumer:
        consumer.qos(prefetch_count=count)
        consumer.callbacks = [lambda body, _message: rows.append((body[0][0], body[0][1]))]
        while len(rows) < count:
            connection.drain_events(timeout=10)
    return rows


def test_a_new_batch_does_not_wait_behind_a_full_window_of_another(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 100, batch_id="large", queue=queue.name)
    keeper = feeder(engine, queue, window=40)
    keeper.feed()
    make_batch(engine, 5, batch_id="small", queue=queue.name)
    make_batch(engine, 100, batch_id="other", queue=queue.name)
    keeper.feed()
    assert queue.depth() == (40, 0)
    assert statuses(engine, "large").count("queued") == 40 - 5 - 13
    rows = delivered(settings, 24)
    batches = [batch_id for batch_id, _ in rows]
    assert batches[::3] == ["other"] * 8
    assert batches[:6].count("small") == 2
    assert batches.count("small") == 5
    for batch_id in set(batches):  # each in its own order
        numbers = [number for of, number in rows if of == batch_id]
        assert numbers == list(range(len(numbers)))


def test_a_batch_that_is_alone_is_fed_behind_what_waits(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 30, queue=queue.name)
    keeper = feeder(engine, queue, window=20)
    assert keeper.feed() == 20
    assert keeper.feed() == 0


def test_urgent_rows_are_delivered_first_and_go_back_to_where_they_were(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 10, batch_id="calm", queue=queue.name)
    keeper = feeder(engine, queue, window=10)
    keeper.feed()
    make_batch(engine, 3, batch_id="urgent", queue=queue.name, urgent=True)
    assert keeper.feed() == 3
    assert queue.depth() == (13, 0)
    assert delivered(settings, 4) == [*(("urgent", n) for n in range(3)), ("calm", 0)]
    assert queue.waiting(is_urgent=True) == 3  # the consumer has ended, and gave them back
    assert delivered(settings, 1)[0][0] == "urgent"


def key(settings: Settings, name: str) -> str:
    return f"{settings.key_prefix}{settings.queue}.{name}"


def autoscaler_is_told(settings: Settings) -> bool:
    """What the chart's formula makes of the keys when no message waits."""
    return bool(
        client(settings).llen(key(settings, "waiting"))
        and not client(settings).llen(key(settings, "asleep"))
    )


def test_a_retry_without_a_running_worker_wakes_one_when_it_is_due(
    engine: Engine, queue: Queue, settings: Settings, eventually: Callable[..., None]
) -> None:
    make_batch(engine, 2, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0), ("b", 1)], holder="h", worker="w", lease=45)
        later = [records.Outcome(("b", n), 1, "pending", delay=60 + n) for n in range(2)]
        settling.settle(connection, later, holder="h")
    feeder(engine, queue).leave_word()
    assert client(settings).llen(key(settings, "waiting")) == 1
    seconds = client(settings).pttl(key(settings, "asleep")) / 1000
    assert 60 < seconds < 70
    assert not autoscaler_is_told(settings)
    client(settings).pexpire(key(settings, "asleep"), 1)
    eventually(lambda: autoscaler_is_told(settings))
    with engine.begin() as connection:
        stopping.cancel(connection, "b", by="test")
    feeder(engine, queue).leave_word()
    assert not autoscaler_is_told(settings)
    assert not client(settings).exists(key(settings, "waiting"))


def test_a_row_whose_worker_and_message_are_gone_wakes_a_worker(
    engine: Engine, queue: Queue, settings: Settings
) -> None:
    make_batch(engine, 1, queue=queue.name)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
    feeder(engine, queue).leave_word()
    assert 45 + 75 < client(settings).pttl(key(settings, "asleep")) / 1000 < 45 + 75 + 10


def test_messages_are_what_celery_itself_would_send(queue: Queue, settings: Settings) -> None:
    queue.push("b", [7])
    app = celery_app(settings)
    with app.connection_for_write() as connection:
        app.send_task(TASK_NAME, ("b", 7), task_id="b.7", ignore_result=True, connection=connection)
    texts = client(settings).lrange(f"{settings.key_prefix}{queue.name}", 0, -1)
    celerys, ours = (json.loads(text) for text in texts)
    for message in celerys, ours:
        assert message["properties"].pop("delivery_tag")
        assert message["properties"]["delivery_info"].pop("exchange") in ("", queue.name)
        message["body"] = json.loads(base64.b64decode(message["body"]))
    assert ours["headers"].pop("origin") == "rowfleet"  # whose process it was says nothing here
    assert celerys["headers"].pop("origin")
    assert ours["properties"].pop("reply_to") == ""  # no program waits for a result
    assert celerys["properties"].pop("reply_to")
    assert ours == celerys


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


def test_a_turn_that_does_not_end_is_ended(
    engine: Engine,
    queue: Queue,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    """As of a dead feeder in a Redis that was restored without its keys' ends."""
    monkeypatch.setattr("rowfleet.feeding.feeder.TURN_SECONDS", 0.5)
    make_batch(engine, 1, queue=queue.name)
    for milliseconds in (None, 3_600_000):
        client(settings).set(key(settings, "feeder"), "dead", px=milliseconds)
        keeper = feeder(engine, queue)
        keeper.step()
        left = client(settings).pttl(key(settings, "feeder"))
        assert left <= 500
        assert left != -1, "it never ends"

    def stepped() -> list[str]:
        keeper.step()
        return statuses(engine)

    eventually(lambda: stepped() == ["queued"])


def test_the_turn_to_feed_is_one_process_at_a_time(engine: Engine, queue: Queue) -> None:
    make_batch(engine, 5, queue=queue.name)
    first, second = feeder(engine, queue), feeder(engine, queue)
    first.step()
    make_batch(engine, 5, batch_id="c", queue=queue.name)
    second.step()
    assert statuses(engine, "c").count("queued") == 0
    first.step()
    assert statuses(engine, "c").count("queued") == 5


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


def test_a_window_larger_than_a_transaction_is_filled_in_steps(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowfleet.feeding.feeder.FEED_CHUNK", 10)
    make_batch(engine, 60, queue=queue.name)
    assert feeder(engine, queue, window=25).feed() == 25
    assert queue.depth() == (25, 0)
    assert statuses(engine).count("queued") == 25
