"""A lane's arithmetic in a real broker. Time passes by making all that the lane knows older."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest
import redis
from sqlalchemy import Engine

from rowfleet.queue.client import Queue
from rowfleet.queue.keys import CAP, LANES
from rowfleet.rate_limits.cap import Cap, calls_in_flight
from rowfleet.rate_limits.lane import (
    HORIZON,
    MOST_PAUSE,
    SCRIPT,
    Granted,
    PerMinute,
    Report,
    arguments,
    lane_name,
    read,
)
from rowfleet.settings import Settings
from tests.support.ledger import ECHO, make_batch

#: Fields of a lane that are points in time.
TIMES = ("r", "t", "fa", "pause", "cut", "ns")

TEN_A_SECOND = PerMinute(600, 0)

#: The part of a limit that is used.
USED = 0.99


class Lane:
    """A lane with processes that ask."""

    def __init__(self, url: str, queue: str = "q") -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        self._script = self._redis.register_script(SCRIPT)
        self._queue = queue
        self.key = lane_name("", "gpt-5-mini", "sk-secret", None)

    def ask(
        self,
        *costs: float,
        given: PerMinute = TEN_A_SECOND,
        process: str = "a",
        **report: float | bool | None,
    ) -> Granted:
        answer = self._script(
            keys=[self.key, f"{self.key}.processes", f"{self._queue}{LANES}"],
            args=arguments(process, "gpt-5-mini", given, Report(**report), costs),
        )
        return read(answer)

    def age(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        known = self._redis.hgetall(self.key)
        older = {name: float(known[name]) - seconds for name in TIMES if name in known}
        self._redis.hset(self.key, mapping=older)

    def age_processes(self, seconds: float) -> None:
        """Let the same have passed for the processes that have asked."""
        key = f"{self.key}.processes"
        for process in self._redis.zrange(key, 0, -1):
            self._redis.zincrby(key, -seconds, process)

    def set(self, field: str, value: float) -> None:
        """Let the lane know something else."""
        self._redis.hset(self.key, field, value)

    def granted_in_a_minute(self, *costs: float, given: PerMinute) -> float:
        """Return how many calls are granted to one who asks twice a second, ever wanting more."""
        count, began = 0, time.monotonic()
        for _ in range(120):
            count += len(self.ask(*costs, given=given).starts)
            self.age(0.5)
        return count * 60 / (60 + time.monotonic() - began)


@pytest.fixture
def lane(redis_url: str) -> Lane:
    return Lane(redis_url)


def test_calls_start_evenly_after_a_second_s_worth(lane: Lane) -> None:
    granted = lane.ask(*[1.0] * 100)
    now = [start for start in granted.starts if start == 0]
    later = [start for start in granted.starts if start > 0]
    assert 9 <= len(now) <= 11
    gaps = [b - a for a, b in pairwise(later)]
    assert gaps == pytest.approx([60 / 600 / USED] * len(gaps), abs=0.001)
    assert max(later) <= HORIZON
    assert granted.more_in is not None
    assert 0 < granted.more_in < 0.2
    more = lane.ask(*[1.0] * 100, process="b")  # whoever asks next finds hardly any left
    assert len(more.starts) <= 0.2 * len(granted.starts)


def test_all_of_the_limit_is_granted_and_no_more(lane: Lane) -> None:
    count = lane.granted_in_a_minute(*[1.0] * 50, given=PerMinute(1200, 0))
    assert 1200 * USED <= count <= 1200 * USED + 20 * (1 + HORIZON) + 1


def test_the_narrower_of_both_limits_decides(lane: Lane) -> None:
    count = lane.granted_in_a_minute(*[500.0] * 50, given=PerMinute(1200, 300_000))
    assert 600 * USED <= count <= 600 * USED + 10 * (1 + HORIZON) + 2
    # and the wider one was only taken from for what was granted
    assert float(lane._redis.hget(lane.key, "r")) < float(lane._redis.hget(lane.key, "t"))


def test_a_call_of_more_than_a_burst_s_tokens_delays_those_after_it(lane: Lane) -> None:
    given = PerMinute(0, 60_000)
    assert lane.ask(10_000.0, given=given).starts == [0]
    refused = lane.ask(10.0, given=given)
    assert refused.starts == []
    assert refused.more_in == pytest.approx(10 / USED - 1 - HORIZON, abs=0.1)


@pytest.mark.parametrize(("surplus", "delay"), [(6_000, 6), (-3_000, -3)])
def test_what_was_used_otherwise_is_charged_or_given_back(
    lane: Lane, surplus: float, delay: float
) -> None:
    given = PerMinute(0, 60_000)
    lane.ask(12_000.0, given=given)
    before = lane.ask(1.0, given=given).more_in
    after = lane.ask(1.0, given=given, surplus=surplus).more_in
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(delay / USED, abs=0.1)


def test_a_broker_whose_clock_is_behind_grants_calls_as_the_one_before(lane: Lane) -> None:
    lane.ask(*[1.0] * 100, process="gone")
    before = lane.ask(*[1.0] * 5)
    lane.ask(pause=3)
    lane.age(-1200)  # as after a fail-over to a clock 20 minutes behind
    lane.age_processes(-1200)
    first = lane.ask(*[1.0] * 5)
    assert first.starts == []
    assert first.pause == pytest.approx(3, abs=0.5)  # what was left of it, and no more
    assert first.processes == 1  # those that live ask again
    lane.age(first.pause)
    later = lane.granted_in_a_minute(*[1.0] * 10, given=TEN_A_SECOND)
    assert before.requests == 600
    assert later == pytest.approx(600 * USED, rel=0.2)  # cut by the 429, and grown back


@pytest.mark.parametrize("field", ["r", "t", "pause", "cut"])
def test_no_time_of_a_lane_lies_further_ahead_than_its_rules_put_it(lane: Lane, field: str) -> None:
    given = PerMinute(600, 600)
    lane.ask(1.0, given=given)
    lane.set(field, time.time() + 3600)  # by a clock that was ahead, and left no other trace
    if field == "cut":  # the next 429 must count
        paused = lane.ask(1.0, given=given, pause=0)
        lane.age(63)
        assert lane.ask(1.0, given=given, pause=0).requests < paused.requests
        return
    for _ in range(2):
        lane.ask(1.0, given=given)
        lane.age(40)  # a minute, and what was granted ahead
    assert lane.ask(1.0, given=given).starts


def test_one_429_pauses_the_fleet_for_a_minute_at_most(lane: Lane) -> None:
    lane.ask(1.0)
    assert lane.ask(1.0, pause=3600).pause == pytest.approx(MOST_PAUSE)  # a worker of before, say
    lane.age(MOST_PAUSE + 2)
    assert lane.ask(1.0).starts


def test_a_429_pauses_all_slows_them_down_and_that_wears_off(lane: Lane) -> None:
    lane.ask(1.0)
    paused = lane.ask(1.0, pause=10)
    assert paused.starts == []
    assert paused.pause == pytest.approx(10)
    assert paused.requests == pytest.approx(600 * 0.75)
    # Another one from what was under way is the same trouble; a longer pause counts.
    again = lane.ask(1.0, process="b", pause=12)
    assert again.requests == pytest.approx(600 * 0.75, rel=0.01)
    assert again.pause == pytest.approx(12)
    lane.age(12)
    after = lane.ask(*[1.0] * 20)
    assert len([start for start in after.starts if start == 0]) <= 1  # evenly from the first on
    assert 600 * 0.75 < after.requests < 600
    lane.age(13)
    assert lane.ask(1.0).requests == 600


def test_hardly_anything_left_slows_all_down_before_a_429(lane: Lane) -> None:
    assert lane.ask(1.0, is_low=True).requests == pytest.approx(540)
    assert lane.ask(1.0, is_low=True).requests == pytest.approx(540, rel=0.01)


@pytest.mark.parametrize(("fleet", "doubled"), [("a", 0.25), ("ab", 0.5)])
def test_before_the_first_answer_calls_double_as_long_as_none_is_refused(
    lane: Lane, fleet: str, doubled: float
) -> None:
    learn = PerMinute()
    for process in fleet:  # each must hear of a refusal
        lane.ask(given=learn, process=process)
    starts = lane.ask(*[1.0] * 100, given=learn).starts
    assert starts.count(0) == 20
    half = sum(doubled / math.log(2) / number for number in range(20, 29))
    assert starts[28] == pytest.approx(half, abs=0.001)
    assert half == pytest.approx(doubled / 2, rel=0.1)  # 29 are the square root of 2 times 20
    assert 0.4 < max(starts) <= 0.5  # an answer may come, so little is granted ahead


def test_before_the_first_answer_there_is_no_rush(lane: Lane) -> None:
    learn = PerMinute()
    for _ in range(20):
        lane.ask(*[1.0] * 200, given=learn)
        lane.age(0.5)
    first, *later = lane.ask(*[1.0] * 200, given=learn).starts
    gaps = [after - before for before, after in pairwise([first, *later])]
    assert gaps == pytest.approx([1 / 150] * len(gaps), abs=0.001)
    lane.age(60)  # what nobody asked for meanwhile is gone
    assert lane.ask(*[1.0] * 200, given=learn).starts.count(0) == 1


def test_before_the_first_answer_a_large_fleet_starts_five_calls_a_second(lane: Lane) -> None:
    learn = PerMinute()
    for process in range(100):
        lane.ask(given=learn, process=str(process))
    lane.ask(*[1.0] * 20, given=learn)
    lane.age(0.5)
    assert lane.ask(*[1.0] * 20, given=learn).starts == pytest.approx([0, 0.2, 0.4], abs=0.001)


def test_an_answer_that_names_no_limit_lets_all_start(lane: Lane) -> None:
    learn = PerMinute()
    assert len(lane.ask(*[1.0] * 200, given=learn).starts) < 100
    assert lane.ask(*[1.0] * 200, given=learn, calls=1, seconds=8).starts == [0] * 200


@pytest.mark.parametrize(("named", "delay"), [(1200, 0), (60, 8)])
def test_the_first_calls_count_once_a_limit_is_known(
    lane: Lane, named: float, delay: float
) -> None:
    learn = PerMinute()
    for _ in range(20):
        lane.ask(1.0, given=learn)
    lane.age(11)
    granted = lane.ask(1.0, given=learn, requests=named, calls=1, seconds=8)
    if delay:
        assert granted.more_in == pytest.approx(delay - HORIZON, abs=1)
    else:
        assert granted.starts == [0]


def test_limits_that_the_api_names_are_kept_unless_the_settings_name_others(lane: Lane) -> None:
    learn = PerMinute()
    assert lane.ask(*[1.0] * 200, given=PerMinute(0, 0)).starts == [0] * 200
    learnt = lane.ask(1.0, given=learn, requests=120, tokens=9_000)
    assert (learnt.requests, learnt.tokens) == (120, 9_000)
    assert lane.ask(1.0, given=learn, process="b").requests == 120
    assert lane.ask(1.0, given=PerMinute(600, 0)).requests == 600  # the settings know better
    assert lane.ask(1.0, given=PerMinute(600, 0)).tokens == 0


def test_a_429_without_a_known_limit_goes_by_what_went_through(lane: Lane) -> None:
    learn = PerMinute()
    for _ in range(20):
        lane.ask(*[1.0] * 10, given=learn, calls=10, seconds=10)
        lane.age(1)
    slowed = lane.ask(given=learn, pause=1)
    assert slowed.requests == pytest.approx(600 * 0.75, rel=0.15)
    lane.age(100)
    assert lane.ask(given=learn).requests > 2 * 600  # finds out what there is


def test_processes_are_counted(lane: Lane) -> None:
    for name in "abc":
        granted = lane.ask(1.0, process=name)
    assert granted.processes == 3


def test_the_key_is_not_in_the_lane_s_name() -> None:
    name = lane_name("p:", "gpt-5-mini", "sk-secret", None)
    assert "secret" not in name
    assert name.startswith("p:rowfleet.limit.")
    assert name != lane_name("p:", "gpt-5-mini", "sk-other", None)
    assert name != lane_name("p:", "gpt-5-mini", "sk-secret", "http://proxy/v1")


def test_what_a_limit_lets_through_is_in_flight_for_as_long_as_a_call_takes() -> None:
    def of(**known: float) -> int | None:
        return calls_in_flight(
            **{"requests": None, "tokens": None, "seconds": None, "per_call": None, **known}
        )

    assert of(requests=600, seconds=8) == 88
    assert of(requests=600, tokens=300_000, seconds=8, per_call=1000) == 44
    assert of(requests=60) == 11
    assert of(requests=1, seconds=0.1) == 1
    assert of(seconds=8) is None
    assert of(tokens=300_000, seconds=8) is None


def test_the_autoscaler_s_cap_follows_the_limit_and_what_calls_take(
    settings: Settings, engine: Engine, redis_url: str
) -> None:
    queue = Queue(settings)
    store = redis.Redis.from_url(redis_url)
    key = f"{settings.queue}{CAP}"

    def cap(given: PerMinute) -> int:
        Cap(engine, queue, given).write()
        return store.llen(key)

    assert cap(PerMinute(600, 0)) == 0  # nothing is asked
    make_batch(engine, queue=settings.queue)
    assert cap(PerMinute()) == 0  # nothing is known
    assert cap(PerMinute(600)) == 110  # before the first answer
    lane = Lane(redis_url, settings.queue)
    lane.ask(given=PerMinute(600), calls=5, seconds=40, used=2500, completion=500)
    assert cap(PerMinute(600)) == 88
    assert 0 < store.ttl(key) <= 60
    assert cap(PerMinute()) == 88  # a submitter that does not know the workers' limits
    lane.ask(given=PerMinute(600), requests=0, tokens=150_000)
    assert cap(PerMinute(600)) == 44
    with_rules = ECHO.model_copy(update={"analyzer": "rules"})
    make_batch(engine, batch_id="free", queue=settings.queue, recipe=with_rules)
    assert cap(PerMinute(600)) == 0  # rules call no API
