"""What goes to the broker several at once: messages taken, acknowledgements, events of tasks."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import kombu
import pytest
import redis
from celery.events.receiver import EventReceiver
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy import Engine, text

from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.queue.message import LARGEST_NOTE
from rowfleet.received import MAX_DEPTH
from rowfleet.settings import Settings, load_settings
from tests.standin import Standin
from tests.support import brokers
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start, all_done, feed
from worker.transport import Channel


@contextmanager
def heard(settings: Settings) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Collect the events of tasks by the tasks' ids, as Flower gets them."""
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ready, over = threading.Event(), threading.Event()
    app = celery_app(settings)

    def hear(event: dict[str, Any]) -> None:
        if event["type"].startswith("task-"):
            events[event["uuid"]].append(event)

    def listen() -> None:
        with app.connection_for_read() as broker:
            receiver = EventReceiver(broker, handlers={"*": hear}, app=app)
            with receiver.consumer_context(wakeup=False) as (connection, _, _):
                while not over.is_set():
                    try:
                        connection.drain_events(timeout=0.1)
                    except TimeoutError:  # it has asked for them now
                        ready.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert ready.wait(30)
        yield events
    finally:
        over.set()
        thread.join()


#: A connection, and what was delivered.
Consuming = tuple[kombu.Connection, list[kombu.Message]]


def ends(events: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Return how each task ended that has begun, by its id."""
    return {task: seen[-1]["type"] for task, seen in events.items() if len(seen) >= 3}


@pytest.mark.parametrize("pool", ["threads", "prefork", "gevent"])
def test_all_events_are_there_while_a_worker_is_idle_and_after_it_has_ended(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
    pool: str,
) -> None:
    settings = fleet.model_copy(update={"retry_delay": 60.0})  # not while this worker is there
    standin.configure(latency=0.2)
    make_batch(ledger, 1, batch_id="idle", queue=fleet.queue)
    queue = feed(ledger, fleet)
    with heard(fleet) as events:
        worker = start(settings, "--pool", pool, "--concurrency", "3")
        # Nothing else comes that would take this row's events along.
        eventually(lambda: ends(events) == {"idle.0": "task-succeeded"}, 60)
        eventually(lambda: queue.depth() == (0, 0))
        standin.configure(
            latency=1.5,
            faults=[  # by the numbers that the sheet shows, less the 2 of a sheet's first row
                {"kind": "refusal", "rows": [11]},
                {"kind": "server_error", "rows": [12], "attempts": 1},
            ],
        )
        make_batch(ledger, 3, batch_id="b", queue=fleet.queue, first_row=12)
        feed(ledger, fleet)
        standin.wait_until(lambda summary: summary["calls"] >= 4)
        worker.terminate()
        assert worker.wait(30) == 0
        eventually(
            lambda: (
                ends(events)
                == {
                    "idle.0": "task-succeeded",
                    "b.0": "task-succeeded",
                    "b.1": "task-failed",
                    "b.2": "task-retried",
                }
            )
        )
    assert sorted(statuses(ledger)) == ["done", "failed", "pending"]
    assert queue.depth() == (0, 0)
    for seen in events.values():
        assert [event["type"] for event in seen[:2]] == ["task-received", "task-started"]
        assert len(seen) == 3  # each once
        assert seen[0]["timestamp"] <= seen[1]["timestamp"] <= seen[2]["timestamp"]
    done = events["b.0"][2]
    assert done["result"] == "'row 12: done'"
    assert done["runtime"] >= 1.5
    assert done["timestamp"] - events["b.0"][1]["timestamp"] >= 1.5
    assert "RowFailed" in events["b.1"][2]["exception"]
    assert "row 13: " in events["b.1"][2]["exception"]


def test_a_message_is_not_acknowledged_before_the_commit(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=1)
    make_batch(ledger, 8, queue=fleet.queue)
    queue = feed(ledger, fleet)
    start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 8)
    with ledger.begin() as holder:
        holder.execute(text("LOCK TABLE rows IN SHARE MODE"))  # may be read, not written
        eventually(lambda: all(call.ended for call in standin.calls()))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert queue.depth() == (0, 8)
            time.sleep(0.05)
    eventually(lambda: all_done(ledger))
    eventually(lambda: queue.depth() == (0, 0))


def test_a_worker_that_shuts_down_acknowledges_each_row_as_it_ends(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=60)
    make_batch(ledger, 1, batch_id="long", queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 1)
    standin.configure(latency=1.5)
    make_batch(ledger, 4, batch_id="short", queue=fleet.queue)
    feed(ledger, fleet)
    standin.wait_until(lambda summary: summary["calls"] == 5)
    with heard(fleet) as events:
        worker.terminate()
        eventually(lambda: queue.depth() == (0, 1))
        eventually(lambda: len(events) == 4)
    assert worker.poll() is None


@contextmanager
def consuming(settings: Settings, *, as_kombu_does: bool = False) -> Iterator[Consuming]:
    """Consume the queue as a worker of four slots does; yield the connection and what came."""
    ours = TRANSPORT_ALIASES["redis"] if as_kombu_does else "worker.transport:Transport"
    app = celery_app(settings)
    delivered: list[kombu.Message] = []
    with (
        patch.dict(TRANSPORT_ALIASES, redis=ours),
        patch.dict(kombu.transport._transport_cache, clear=True),
        app.connection_for_read() as connection,
    ):
        channel = connection.default_channel
        channel.basic_qos(0, 4, False)
        with app.amqp.TaskConsumer(channel, on_message=delivered.append):
            yield connection, delivered


def without_tags(note: bytes) -> str:
    """Return a note as JSON without what differs in a message that is sent again."""
    message, *to = json.loads(note)
    del message["properties"]["delivery_tag"]
    return json.dumps([message, *to], sort_keys=True)


@pytest.fixture
def queued(redis_url: str) -> Settings:
    """Settings of a queue behind a prefix, in a broker with nothing else in it."""
    return load_settings({}, redis_url=redis_url, queue="q", key_prefix="theirs:")


def test_as_many_messages_are_taken_as_there_is_room_for_and_noted_as_kombu_does(
    queued: Settings, redis_url: str
) -> None:
    broker, queue = redis.Redis.from_url(redis_url), Queue(queued)
    notes = {}
    for as_kombu_does in (True, False):
        broker.flushdb()
        queue.push("b", range(6))
        queue.push("first", range(2), is_urgent=True)
        with consuming(queued, as_kombu_does=as_kombu_does) as (connection, delivered):
            while len(delivered) < 4:
                connection.drain_events(timeout=5)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.2)  # no room for more
            assert [message.headers["id"] for message in delivered] == [
                "first.0",
                "first.1",
                "b.0",
                "b.1",
            ]
            assert queue.depth() == (4, 4)
            assert broker.zcard("theirs:q.unacked_index") == 4
            written = broker.hgetall("theirs:q.unacked")
            assert written.keys() == {message.delivery_tag.encode() for message in delivered}
            notes[as_kombu_does] = sorted(without_tags(note) for note in written.values())
        assert queue.depth() == (8, 0)  # what was not acknowledged is to be delivered again
    assert notes[True] == notes[False]


def test_what_is_acknowledged_goes_with_the_next_message_or_when_it_is_sent(
    queued: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Channel, "gathers", True)
    queue = Queue(queued)
    queue.push("b", range(5))
    with consuming(queued) as (connection, delivered):
        connection.drain_events(timeout=5)
        assert queue.depth() == (1, 4)
        for message in delivered[:2]:
            message.ack()
        assert queue.depth() == (1, 4)
        connection.drain_events(timeout=5)
        assert queue.depth() == (0, 3)
        for message in delivered[2:]:
            message.ack()
        connection.default_channel.send_acks()
        assert queue.depth() == (0, 0)
    assert not Channel.acked


def test_slots_of_acknowledged_rows_are_filled_at_once(
    queued: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Channel, "gathers", True)
    queue = Queue(queued)
    queue.push("b", range(7))
    with consuming(queued) as (connection, delivered):
        connection.drain_events(timeout=5)
        assert queue.depth() == (3, 4)
        for message in delivered[:2]:
            message.ack()
        connection.drain_events(timeout=5)
        assert queue.depth() == (1, 4)
        for message in delivered[2:]:
            message.ack()
        connection.default_channel.send_acks()


def test_acknowledgements_that_fail_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "gathers", True)
    server = brokers.started()
    settings = load_settings({}, redis_url=f"redis://127.0.0.1:{server.port}/0", queue="q")
    queue = Queue(settings)
    queue.push("b", range(3))
    try:
        with consuming(settings) as (connection, delivered):
            connection.drain_events(timeout=5)
            channel = connection.default_channel
            for message in delivered:
                message.ack()
            acked = list(Channel.acked)
            assert len(acked) == 3
            port = server.port
            server.stop()
            with pytest.raises(redis.RedisError):
                channel.send_acks()
            assert list(Channel.acked) == acked
            server = brokers.started(port)
            channel.send_acks()
            assert not Channel.acked
    finally:
        Channel.acked.clear()
        server.stop()


def test_only_a_message_of_this_queue_can_be_put_back(queued: Settings, redis_url: str) -> None:
    broker, queue = redis.Redis.from_url(redis_url), Queue(queued)
    queue.push("b", [0])
    with consuming(queued) as (connection, _):
        connection.drain_events(timeout=5)
        channel = connection.default_channel
        (text,) = broker.hvals("theirs:q.unacked")
        message, exchange, routing_key = json.loads(text)

        def goes_back(*to: str, **changes: object) -> bool:
            note = json.dumps([{**message, **changes}, *(to or (exchange, routing_key))])
            return bool(channel.can_restore(note.encode()))

        assert channel.can_restore(text)
        assert goes_back()
        assert not goes_back("a", "q")
        assert not goes_back("z", "q")
        assert not goes_back("other", "other")
        headers = message["headers"]
        assert goes_back(headers={**headers, "more": "x" * (LARGEST_NOTE - 2_000)})
        assert not goes_back(headers={**headers, "more": "x" * LARGEST_NOTE})
        assert not goes_back(headers={**headers, "compression": "zlib"})
        assert not goes_back(body=[message["body"]])
        assert not goes_back(body=None)
        for odd in ("{", "["):
            assert not goes_back(body=odd * (MAX_DEPTH + 1))
        assert goes_back(body="[" * (MAX_DEPTH // 2))
        assert not goes_back(body="[{" * (MAX_DEPTH // 2 + 1))
        assert not goes_back(properties={**message["properties"], "delivery_tag": 5})


@pytest.mark.parametrize("odd", ["not json", '"text"', '{"properties": {}}'])
def test_what_is_no_message_is_not_taken_with_others_and_goes_to_the_dead_letters(
    queued: Settings, redis_url: str, odd: str
) -> None:
    broker, queue = redis.Redis.from_url(redis_url), Queue(queued)
    queue.push("b", [0, 1])
    broker.lpush("theirs:q", odd)
    queue.push("b", [2])
    with consuming(queued) as (connection, delivered):
        connection.drain_events(timeout=5)
        assert [message.headers["id"] for message in delivered] == ["b.0", "b.1"]
        assert broker.lrange("theirs:q", -1, -1) == [odd.encode()]
        assert queue.depth() == (2, 2)
        connection.drain_events(timeout=5)
        assert queue.dead_letters() == 1
        assert queue.depth() == (1, 2)
        connection.drain_events(timeout=5)
        assert queue.depth() == (0, 3)


@pytest.mark.parametrize("at", range(3))
def test_a_dead_letter_that_was_taken_with_others_leaves_no_note(
    queued: Settings, redis_url: str, at: int
) -> None:
    """The script takes it for a message, and kombu can read none that is compressed."""
    broker, queue = redis.Redis.from_url(redis_url), Queue(queued)
    queue.push("b", range(4))
    texts = broker.lrange("theirs:q", 0, -1)
    message = json.loads(texts[at])
    message["headers"]["compression"] = "zlib"
    broker.lset("theirs:q", at, json.dumps(message))
    with consuming(queued) as (connection, delivered):
        connection.drain_events(timeout=5)
        assert len(delivered) == 3
        assert queue.dead_letters() == 1
        tags = {kept.delivery_tag.encode() for kept in delivered}
        assert set(broker.hkeys("theirs:q.unacked")) == tags
        assert set(broker.zrange("theirs:q.unacked_index", 0, -1)) == tags


def test_a_channel_keeps_one_client_even_when_its_broker_is_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Channel, "gathers", True)
    server = brokers.started()
    settings = load_settings({}, redis_url=f"redis://127.0.0.1:{server.port}/0", queue="q")
    try:
        with consuming(settings) as (connection, delivered):
            channel = connection.default_channel
            with channel.conn_or_acquire() as client:
                client.ping()
            port = server.port
            server.stop()
            server = brokers.started(port)
            with channel.conn_or_acquire() as again:
                assert again is client
                again.ping()
            queue = Queue(settings)
            queue.push("b", range(3))
            while len(delivered) < 3:  # by a script that the new server has not seen
                try:
                    connection.drain_events(timeout=5)
                except connection.connection_errors:
                    continue
            for message in delivered:
                message.ack()
            channel.send_acks()
            assert queue.depth() == (0, 0)
            channel._disconnect_pools()
            with channel.conn_or_acquire() as another:
                assert another is not client
                another.ping()
    finally:
        server.stop()
