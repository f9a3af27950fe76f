"""What another program wrote under a key of Rowfleet's ends nothing and is no limit."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from sqlalchemy import Engine

from rowfleet.errors import ServiceError
from rowfleet.queue.client import Queue
from rowfleet.queue.dead_letters import bury
from rowfleet.queue.keys import LANE_FIELDS, LARGEST_NUMBER, number_in
from rowfleet.rate_limits import lane
from rowfleet.rate_limits.lane import HORIZON, MOST_PAUSE, PerMinute, Report, arguments
from rowfleet.settings import Settings, load_settings
from tests.support.ledger import make_batch

ODD = [b"zz", b"", b"nan", b"inf", b"-inf", b"-5", b"1e300", b"0", b"\xff\xfe", b"9" * 400, b"0x7f"]

MODEL = "gpt-5-mini"

#: Fields of a lane beside those that the cap is made of.
OTHER_FIELDS = ["r", "t", "fa", "pause", "cut", "pr", "n", "ns", "rate", "first", "completion"]


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def queue(redis_url: str) -> Queue:
    return Queue(load_settings({}, redis_url=redis_url, queue="q"))


def test_a_lane_of_garbage_is_no_limit(queue: Queue, broker: redis.Redis) -> None:
    ask: Any = broker.register_script(lane.SCRIPT)
    given = arguments("p", MODEL, PerMinute(600, 6000), Report(), [1.0] * 3)
    for odd in ODD:
        broker.delete("L")
        broker.hset("q.lanes", MODEL, "L")
        broker.hset("L", mapping={b"x": odd, b"\xff": odd, **dict.fromkeys(LANE_FIELDS, odd)})
        assert all(0 <= value <= LARGEST_NUMBER for value in queue.lane(MODEL).values())
        # The script that all workers ask takes nothing of it, either, and mends the lane.
        broker.hset("L", mapping=dict.fromkeys([*LANE_FIELDS, *OTHER_FIELDS], odd))
        for _ in range(2):
            granted = lane.read(ask(keys=["L", "L.p", "q.lanes"], args=given))
            assert len(granted.starts) == 3
            assert all(0 <= start <= HORIZON + MOST_PAUSE for start in granted.starts)
            assert 0 < granted.requests <= 600
            assert 0 < granted.tokens <= 6000
        kept = broker.hgetall("L")
        assert all(math.isfinite(float(value)) for value in kept.values())
        assert b"x" not in kept


def test_an_answer_of_no_sense_grants_nothing_absurd() -> None:
    granted = lane.read([b"nan", b"1e9", b"1e99", b"inf", b"-1", b"x", b"0.5", b"nan", b"inf"])
    assert granted == lane.Granted([0.5], None, MOST_PAUSE, 1, 0, 0, None)


@pytest.mark.parametrize("odd", ODD)
def test_a_number_is_one_or_none(odd: bytes) -> None:
    number = number_in(odd)
    assert number is None or 0 <= number <= LARGEST_NUMBER


def test_keys_of_another_type_stop_no_feeding(queue: Queue, broker: redis.Redis) -> None:
    for key in ("q.cap", "q.lanes", "q.waiting", "q.asleep", "q.feeder"):
        broker.set(key, "evil")
    assert queue.lane(MODEL) == {}
    queue.set_cap(3, 60)
    assert broker.llen("q.cap") == 3
    queue.wake_in(5)
    for write in (broker.set, broker.rpush):  # a turn that would never end
        broker.delete("q.feeder")
        write("q.feeder", "evil")
        with queue.turn("feeder", "me", 10) as mine:
            assert mine
        with queue.turn("feeder", "other", 10) as mine:
            assert not mine
    broker.delete("q.lanes")
    broker.hset("q.lanes", MODEL, "q.cap")
    assert queue.lane(MODEL) == {}


def test_a_row_that_is_noted_for_a_time_to_come_is_delivered_again(
    queue: Queue, broker: redis.Redis
) -> None:
    note = json.dumps([json.loads(queue._message("b", 1, False)), "q", "q"])
    broker.hset("q.unacked", mapping={"a": note, "b": note, "c": note})
    broker.zadd("q.unacked_index", {"a": math.inf, "b": 1.0})
    queue.mend_notes()
    first, second, third = broker.zmscore("q.unacked_index", ["a", "b", "c"])
    assert second == 1.0
    assert abs(first - time.time()) < 600
    assert abs(third - time.time()) < 600


def test_dead_letters_are_taken_where_their_keys_hold_something_else(
    queue: Queue, broker: redis.Redis
) -> None:
    broker.set("q.dead_letters", "evil")
    for count in (b"zz", b"nan", b"1e400"):
        broker.set("q.dead_letters_count", count)
        broker.hset("q.unacked", "t", "garbage")
        bury(broker, "q", b"garbage", "it is no message", tag="t")
        assert not broker.exists("q.unacked")
        assert queue.dead_letters() == 0


def test_another_program_s_key_is_not_called_a_lost_connection(
    queue: Queue, broker: redis.Redis
) -> None:
    broker.set("q.unacked", "evil")
    with pytest.raises(ServiceError, match="another program's data under a key of Rowfleet's"):
        queue.depth()


def test_commands_survive_garbage(
    engine: Engine, settings: Settings, rowfleet: Callable[..., Any]
) -> None:
    make_batch(engine, 1, queue=settings.queue)
    broker = redis.Redis.from_url(settings.broker_url() or "")
    name = f"{settings.key_prefix}{settings.queue}"
    broker.rpush(name, "garbage{{{")
    broker.hset(f"{name}.unacked", "x", "garbage")
    broker.hset(f"{name}.lanes", MODEL, "L")
    broker.hset("L", "x", "zz")
    broker.set(f"{name}.dead_letters_count", "zz")
    env = {
        "REDIS_URL": settings.broker_url() or "",
        "DATABASE_URL": settings.database_url.get_secret_value() if settings.database_url else "",
        "ROWFLEET_QUEUE": settings.queue,
        "ROWFLEET_KEY_PREFIX": settings.key_prefix,
    }
    for command in (["repair", "b"], ["repair", "b", "--json"], ["workers"]):
        ran = rowfleet(*command, env=env)
        assert "Traceback" not in ran.stderr
        assert ran.returncode in (0, 1)
