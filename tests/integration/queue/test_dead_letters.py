"""Messages that name no row: they end no worker, hold no row, and are kept to be looked at."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.worker.request import Request
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from sqlalchemy import Engine

from rowfleet.feeding.feeder import Feeder
from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.queue.keys import DEAD_LETTER_EXCERPT, DEAD_LETTERS_KEPT, is_key
from rowfleet.queue.message import TASK_NAME, row_of
from rowfleet.settings import Settings, load_settings
from tests.integration.queue.test_transport import consuming
from tests.standin import Standin
from tests.support.garbage import GARBAGE, GOOD, SECRET, body, changed
from tests.support.ledger import make_batch
from tests.support.workers import Start, all_done, feed


@pytest.mark.parametrize("pool", ["threads", "gevent", "prefork"])
def test_garbage_on_the_queue_ends_no_worker_and_holds_no_row(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
    tmp_path: Path,
    pool: str,
) -> None:
    make_batch(ledger, 12, queue=fleet.queue)
    broker, queue = redis.Redis.from_url(fleet.broker_url() or ""), Queue(fleet)
    half = len(GARBAGE) // 2
    broker.lpush(fleet.queue, *GARBAGE[:half])
    feed(ledger, fleet)
    broker.lpush(fleet.queue, *GARBAGE[half:])
    broker.lpush(f"{fleet.queue}.urgent", *GARBAGE)
    notes = {f"n{at}": note for at, note in enumerate(["", "5", "[1,2,3]", f"[{{}},{SECRET!r},1]"])}
    broker.hset(f"{fleet.queue}.unacked", mapping=notes)
    broker.zadd(f"{fleet.queue}.unacked_index", dict.fromkeys(notes, 1.0))
    worker = start(fleet, "--pool", pool, "--concurrency", "3")
    eventually(lambda: worker.poll() is not None or all_done(ledger), 90)
    assert worker.poll() is None
    eventually(lambda: queue.depth() == (0, 0), 60)
    assert queue.dead_letters() == 2 * len(GARBAGE) + len(notes)
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(60) == 0
    assert queue.depth() == (0, 0)  # nothing was put back
    assert standin.summary()["calls"] == 12
    log = (tmp_path / "worker.log").read_text("utf-8", "replace")
    assert log.count("went to the dead letters") == queue.dead_letters()
    assert SECRET not in log
    assert "Traceback" not in log
    if pool == "threads":  # the list is bounded, and says what came
        letters = [json.loads(one) for one in broker.lrange(f"{fleet.queue}.dead_letters", 0, -1)]
        assert {letter["why"] for letter in letters} == {
            "it is no message", "it names no row", "a delivered message can't be put back",
        }  # fmt: skip
        assert any(SECRET in letter["message"] for letter in letters)


@pytest.fixture
def queue(redis_url: str) -> Queue:
    return Queue(load_settings({}, redis_url=redis_url, queue="q", key_prefix="theirs:"))


def test_who_feeds_survives_garbage_and_loses_no_row(queue: Queue, redis_url: str) -> None:
    broker = redis.Redis.from_url(redis_url)
    queue.push("b", range(3))
    broker.lpush("theirs:q", *GARBAGE)
    queue.push("b", [3], is_urgent=True)
    note = json.dumps([json.loads(changed(body=body([["b", 9], {}, {}]))), "q", "q"])
    of_others = json.dumps([json.loads(changed(headers={"task": "rowfleet.extract"})), "q", "q"])
    notes: dict[str, str | bytes] = {f"n{at}": odd for at, odd in enumerate(GARBAGE)}
    broker.hset("theirs:q.unacked", mapping={**notes, "good": note, "theirs": of_others})
    assert queue.present() == {("b", number) for number in (0, 1, 2, 3, 9)}
    assert queue.mend_notes() == len(GARBAGE)
    assert set(broker.hkeys("theirs:q.unacked")) == {b"good", b"theirs"}
    scores = broker.zmscore("theirs:q.unacked_index", ["good", "theirs"])
    assert all(score is not None and score > time.time() - 60 for score in scores)
    assert queue.mend_notes() == 0
    assert sorted(queue.take_back(len(GARBAGE) + 1)) == [("b", 2)]
    assert queue.dead_letters() == 2 * len(GARBAGE)
    assert queue.depth() == (3, 2)


def test_a_message_that_was_put_back_names_its_row_still() -> None:
    to = {**GOOD["properties"]["delivery_info"], "redelivered": True}
    again = changed(headers={"redelivered": True}, properties={"delivery_info": to})
    assert row_of(again.encode()) == row_of(json.dumps(GOOD).encode()) == ("b", 7)


def test_dead_letters_are_bounded(queue: Queue, redis_url: str) -> None:
    broker = redis.Redis.from_url(redis_url)
    broker.lpush("theirs:q", *[b"x" * 100_000] * 3, *[b"x"] * (DEAD_LETTERS_KEPT + 5))
    assert queue.take_back(10 * DEAD_LETTERS_KEPT) == []
    assert queue.dead_letters() == DEAD_LETTERS_KEPT + 8
    letters = broker.lrange("theirs:q.dead_letters", 0, -1)
    assert len(letters) == DEAD_LETTERS_KEPT
    newest, *_, oldest = map(json.loads, letters)
    assert (newest["bytes"], len(newest["message"])) == (100_000, DEAD_LETTER_EXCERPT)
    assert oldest["bytes"] == 1


def test_a_feeder_buries_what_the_autoscaler_would_count_for_ever(
    engine: Engine, queue: Queue, redis_url: str
) -> None:
    broker = redis.Redis.from_url(redis_url)
    broker.hset("theirs:q.unacked", "x", "garbage")
    Feeder(engine, queue, window=10, redelivery=60).step()
    assert queue.depth() == (0, 0)
    assert queue.dead_letters() == 1


def test_dead_letters_are_shown(
    engine: Engine, settings: Settings, rowfleet: Callable[..., Any]
) -> None:
    make_batch(engine, 1, queue=settings.queue)
    broker = redis.Redis.from_url(settings.broker_url() or "")
    broker.hset(f"{settings.queue}.unacked", "x", "garbage")
    env = {
        "REDIS_URL": settings.broker_url() or "",
        "DATABASE_URL": settings.database_url.get_secret_value() if settings.database_url else "",
        "ROWFLEET_QUEUE": settings.queue,
    }
    said = f"1 messages that name no row came on the queue {settings.queue} so far"
    assert said in rowfleet("repair", "b", env=env).stdout
    assert json.loads(rowfleet("repair", "b", "--json", env=env).stdout)["dead_letters"] == 1
    assert said in rowfleet("workers", env=env).stderr


# --- fuzzed messages

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ODD = st.recursive(
    SCALARS,
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3)
    ),
    max_leaves=6,
)
PATHS = [
    *([name] for name in GOOD),
    *(["headers", name] for name in GOOD["headers"]),
    *(["properties", name] for name in GOOD["properties"]),
    ["properties", "delivery_info", "exchange"],
    ["headers", "compression"],
]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with some parts changed or gone, or the bytes of one broken, or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    message = copy.deepcopy(GOOD)
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=3)):
        part: Any = message
        for name in path[:-1]:
            part = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict):
            if draw(st.booleans()):
                part[path[-1]] = draw(ODD)
            else:
                part.pop(path[-1], None)
    if draw(st.booleans()):
        message["body"] = body(draw(st.tuples(st.lists(ODD, max_size=3), ODD, ODD) | ODD))
    text = json.dumps(message).encode()
    at = draw(st.integers(0, len(text)))
    return text if draw(st.integers(0, 4)) else text[:at] + draw(st.binary(max_size=3)) + text[at:]


@fuzz(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(messages(), min_size=1, max_size=6))
def test_every_message_is_delivered_or_a_dead_letter(fuzzed: Fuzzed, texts: list[bytes]) -> None:
    """And all that passes for a row's message is one that Celery can run."""
    queue, broker, connection, delivered = fuzzed
    before = queue.dead_letters()
    queue.push("b", [1])
    broker.lpush("q", *texts)
    queue.push("b", [2])
    rows, others = [], 0
    while sum(queue.depth()):
        connection.drain_events(timeout=5)
        while delivered:
            message = delivered.pop()
            key = row_of(json.dumps(message._raw).encode())
            if key is None:
                others += 1
            else:
                rows.append(key)
                assert is_key(key)
                request = Request(message, app=APP, task=analyze, decoded=False)
                assert request.id == message.headers["id"]
                args, kwargs, _ = request._payload
                assert (tuple(args), kwargs) == (key, {})
            message.ack()
    assert len(rows) + others + queue.dead_letters() - before == len(texts) + 2
    assert {("b", 1), ("b", 2)} <= set(rows)


Fuzzed = tuple[Queue, Any, Any, list[Any]]


@pytest.fixture
def fuzzed(redis_url: str) -> Iterator[Fuzzed]:
    settings = load_settings({}, redis_url=redis_url, queue="q")
    with consuming(settings) as (connection, delivered):
        yield Queue(settings), redis.Redis.from_url(redis_url), connection, delivered


APP = celery_app(load_settings({}, redis_url="redis://127.0.0.1:1/0", queue="q"))


@APP.task(name=TASK_NAME)
def analyze(batch_id: str, row_number: int) -> None:
    """Stand for the worker's task: Celery reads a message with a task at hand."""
