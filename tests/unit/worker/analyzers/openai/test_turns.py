"""When a process asks for turns, whom it lets go, and what it reports. The clock is virtual."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from rowfleet.analysis import UNANSWERED, Postponed, Usage
from rowfleet.rate_limits.lane import MOST_PAUSE, Granted, PerMinute, Report
from tests.support.virtual_time import now, run
from worker.analyzers.openai.lane import (
    BACK_IN,
    FIRST_COMPLETION,
    FIRST_RATIO,
    FLUSH,
    LOOK,
    PACE,
    WEIGHT,
)
from worker.analyzers.openai.limiter import Limiter
from worker.analyzers.openai.shared_lanes import AWAY

MODEL = "gpt-5-mini"

#: Tokens of a call's text. Each test's calls are told apart by the most of their answers.
TEXT = 400 * FIRST_RATIO


@dataclass
class Asking:
    """What the shared end was told, and when."""

    at: float
    report: Report
    answers: list[float]


@dataclass
class Lanes:
    """The shared end: starts all calls after ``start`` seconds, or as a test says."""

    start: float = 0.0
    #: Calls that each asking lets go, and the seconds until there are more.
    group: int = 1000
    more_in: float = 1.0
    processes: int = 1
    pause: float = 0.0
    error: Exception | None = None
    askings: list[Asking] = field(default_factory=list)

    async def ask(self, _model: str, report: Report, costs: Sequence[float]) -> Granted:
        self.askings.append(Asking(now(), report, [cost - TEXT for cost in costs]))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        starts = [self.start] * len(costs[: self.group])
        more_in = self.more_in if len(costs) > self.group else None
        return Granted(starts, more_in, self.pause, self.processes, 0, 0, None)

    @property
    def times(self) -> list[float]:
        return [asking.at for asking in self.askings]


@pytest.fixture(autouse=True)
def _least_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, _most: least)


def limiter(lanes: Lanes, **options: Any) -> Limiter:
    shared: Any = lanes
    return Limiter(shared, PerMinute(), **options)


class Calls:
    """Calls that wait for their turns; each is known by the most tokens of its answer."""

    def __init__(self, turns: Limiter) -> None:
        self.turns = turns
        #: Call → when it began, or why it did not.
        self.ends: dict[int, float | str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def wait(self, call: int, **options: Any) -> None:
        self._tasks.append(asyncio.create_task(self._one(call, options)))

    async def _one(self, call: int, options: dict[str, Any]) -> None:
        try:
            await self.turns.turn(MODEL, 400, call, **options)
            self.ends[call] = now()
        except Postponed as postponed:
            self.ends[call] = postponed.reason

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)


def test_a_call_is_asked_for_at_once_although_reports_wait() -> None:
    """Reports wait for FLUSH seconds after the last asking, for a request that takes them along."""

    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, 50)
        await asyncio.sleep(FLUSH / 4)
        turns.answered(turn, Usage(1, 100, completion_tokens=50), 1.0, {})
        await asyncio.sleep(FLUSH / 4)
        await turns.turn(MODEL, 400, 60)
        assert lanes.times == pytest.approx([0, FLUSH / 2])
        assert [asking.report.calls for asking in lanes.askings] == [0, 1]
        turns.answered(turn, Usage(1, 100, completion_tokens=50), 1.0, {})
        await asyncio.sleep(3600)
        assert lanes.times == pytest.approx([0, FLUSH / 2, FLUSH * 3 / 2])
        assert (lanes.askings[-1].report.calls, lanes.askings[-1].answers) == (1, [])
        turns.answered(turn, Usage(1, 100, completion_tokens=50), 1.0, {})  # nothing runs by now
        await asyncio.sleep(3600)
        assert len(lanes.askings) == 4
        assert lanes.askings[-1].report.calls == 1

    run(test())


@pytest.mark.parametrize("waits", [False, True])
def test_a_refusal_is_reported_at_once(waits: bool) -> None:
    """Also while calls wait for a moment that is half a minute off."""

    async def test() -> None:
        lanes = Lanes(more_in=30.0)
        turns = limiter(lanes)
        calls = Calls(turns)
        turn = await turns.turn(MODEL, 400, 50)
        if waits:
            lanes.group = 0
            calls.wait(60)
        await asyncio.sleep(0.3)
        before = len(lanes.askings)
        said = {"retry-after": "7", "x-ratelimit-limit-requests": "500"}
        assert turns.refused(turn, said) == 7
        await asyncio.sleep(0.1)
        (asking,) = lanes.askings[before:]
        assert asking.at == pytest.approx(0.3)
        assert asking.report == Report(pause=7.0, requests=500.0)
        assert turns.refused(turn, {"retry-after": "3600"}) == 3600
        await asyncio.sleep(0.1)
        assert lanes.askings[-1].report == Report(pause=MOST_PAUSE)
        lanes.group, lanes.start = 1000, MOST_PAUSE
        await calls.end()

    run(test())


def test_what_the_api_says_of_its_limits_is_passed_on() -> None:
    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, 50)
        used = Usage(1, 100, completion_tokens=50)
        told = [
            ({}, (0, 0, False)),
            ({"x-ratelimit-limit-requests": "500"}, (500, 0, False)),
            ({"x-ratelimit-limit-tokens": "9000"}, (0, 9000, False)),
            (
                {"x-ratelimit-limit-tokens": "9000", "x-ratelimit-remaining-tokens": "9"},
                (0, 9000, True),
            ),
            (
                {
                    "x-ratelimit-limit-requests": "500",
                    "x-ratelimit-remaining-requests": "1",
                    "x-ratelimit-limit-tokens": "9000",
                    "x-ratelimit-remaining-tokens": "9000",
                },
                (500, 9000, True),
            ),
        ]
        for headers, passed_on in told:
            turns.answered(turn, used, 1.0, headers)
            await asyncio.sleep(10)
            report = lanes.askings[-1].report
            assert (report.requests, report.tokens, report.is_low) == passed_on

    run(test())


def test_those_who_try_again_go_before_those_who_wait_for_their_first_try() -> None:
    async def test() -> None:
        lanes = Lanes(group=1, more_in=5.0)
        calls = Calls(limiter(lanes))
        for call in (1, 2):
            calls.wait(call)
        await asyncio.sleep(1)
        calls.wait(3, again=True)
        calls.wait(4)
        await calls.end()
        assert [asking.answers for asking in lanes.askings] == [
            [1, 2],
            [3, 2, 4],
            [2, 4],
            [4],
        ]
        assert list(calls.ends.items()) == [
            (1, pytest.approx(0)),
            (3, pytest.approx(5)),
            (2, pytest.approx(10)),
            (4, pytest.approx(15)),
        ]

    run(test())


@pytest.mark.parametrize(
    ("processes", "more_in", "apart"),
    [(1, 0.01, 0.8 * PACE), (1, 5.0, 5.0), (400, 0.01, 0.8 * 400 / 200)],
)
def test_a_process_that_waits_asks_no_more_often_than_it_must(
    processes: int, more_in: float, apart: float
) -> None:
    """By itself, and with all others of the fleet."""

    async def test() -> None:
        lanes = Lanes(group=1, more_in=more_in, processes=processes)
        calls = Calls(limiter(lanes))
        for call in range(4):
            calls.wait(call)
        await calls.end()
        assert lanes.times == pytest.approx([n * apart for n in range(4)])

    run(test())


def test_a_call_whose_batch_has_ended_goes_alone_and_all_when_the_worker_ends() -> None:
    async def test() -> None:
        over: set[int] = set()
        lanes = Lanes(group=0, more_in=1000.0)
        turns = limiter(lanes, is_ending=lambda: "worker" in over)

        def is_over(call: int) -> Callable[[], bool]:
            return lambda: call in over

        calls = Calls(turns)
        for call in (1, 2, 3):
            calls.wait(call, is_called_off=is_over(call))
        await asyncio.sleep(10 * LOOK)
        assert calls.ends == {}
        over.add(2)
        await asyncio.sleep(LOOK)
        assert calls.ends == {2: "its batch has ended"}
        over.add("worker")  # type: ignore[arg-type]  # beside the calls
        await asyncio.sleep(LOOK)
        ending = "the worker is ending"
        assert calls.ends == {2: "its batch has ended", 1: ending, 3: ending}
        calls.wait(4)
        await asyncio.sleep(0)
        assert calls.ends[4] == ending
        await calls.end()

    run(test())


def test_a_call_that_waits_no_more_is_not_asked_for() -> None:
    """It would be charged for; the call behind it would wait for longer."""

    async def test() -> None:
        lanes = Lanes(group=0, more_in=10.0)
        turns = limiter(lanes)
        calls = Calls(turns)
        calls.wait(1, longest=3.0)
        calls.wait(2)
        await asyncio.sleep(5)
        assert calls.ends == {1: "no turn within 3 s"}
        lanes.group = 1000
        await calls.end()
        assert [asking.answers for asking in lanes.askings] == [[1, 2], [2]]
        assert calls.ends[2] == pytest.approx(10)
        await asyncio.sleep(10)
        assert turns._lanes[MODEL].waiters == set()

    run(test())


@pytest.mark.parametrize(("pause", "delay"), [("0", BACK_IN[0]), ("20", 20 - 3)])
def test_a_call_without_a_turn_comes_back_after_the_pause_or_a_little_later(
    pause: str, delay: float
) -> None:
    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, 50)
        lanes.group = 0
        turns.refused(turn, {"retry-after": pause})
        with pytest.raises(Postponed) as postponed:
            await turns.turn(MODEL, 400, 50, longest=3.0)
        assert postponed.value.delay == pytest.approx(delay)

    run(test())


@pytest.mark.parametrize("pause", ["0.6", "2"])
def test_a_granted_call_asks_again_if_a_pause_came_meanwhile(pause: str) -> None:
    """It goes before those that came later."""

    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        calls = Calls(turns)
        turn = await turns.turn(MODEL, 400, 50)
        lanes.start = 1.0
        calls.wait(1)
        await asyncio.sleep(0.5)
        turns.refused(turn, {"retry-after": pause})
        lanes.start = 2.0
        calls.wait(2)
        await asyncio.sleep(0.1)
        lanes.start = 1.5  # at 1.0: after the pause
        await calls.end()
        assert calls.ends == {1: pytest.approx(2.5), 2: pytest.approx(2.5)}
        assert lanes.askings[-1].answers[0] == 1

    run(test())


def test_a_pause_of_the_fleet_counts_from_the_asking() -> None:
    """By a later end than Redis has, calls granted for its end would ask and pay again."""

    async def test() -> None:
        lanes = Lanes(start=2.0, pause=5.0)
        turns = limiter(lanes)
        calls = Calls(turns)
        calls.wait(1)
        await asyncio.sleep(1)
        assert turns._lanes[MODEL].pause_left() == pytest.approx(4)
        lanes.start = lanes.pause = 3.0  # at 2
        await calls.end()
        assert calls.ends == {1: pytest.approx(5)}
        assert len(lanes.askings) == 2

    run(test())


@pytest.mark.parametrize("usage", [UNANSWERED, Usage(3, 9_999, uncounted=3)])
@pytest.mark.parametrize("most", [None, 50])
def test_a_call_without_a_count_is_taken_for_what_was_expected(
    usage: Usage, most: int | None
) -> None:
    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, most)
        expected = most or FIRST_COMPLETION
        turns.answered(turn, usage, 4.0, {})
        await asyncio.sleep(10)
        report = Report(calls=1, seconds=4.0, used=TEXT + expected, completion=expected)
        assert lanes.askings[-1].report == report
        assert (await turns.turn(MODEL, 400, None)).completion == FIRST_COMPLETION  # nothing learnt
        turns.answered(turn, Usage(1, 100, completion_tokens=30), 4.0, {})
        turns.answered(turn, usage, 4.0, {})
        await asyncio.sleep(10)
        assert lanes.askings[-1].report.completion == 30 + 30
        assert (await turns.turn(MODEL, 400, None)).completion == 30

    run(test())


def test_a_call_of_several_tries_counts_if_one_has_a_count() -> None:
    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, None)
        turns.answered(turn, Usage(2, 60, completion_tokens=30, uncounted=1), 4.0, {})
        await asyncio.sleep(10)
        assert lanes.askings[-1].report.used == 90
        ratio = FIRST_RATIO + WEIGHT * (60 / 400 - FIRST_RATIO)
        assert (await turns.turn(MODEL, 400, None)).prompt == pytest.approx(400 * ratio)

    run(test())


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), OSError("away")])
def test_a_broker_that_is_away_is_left_alone_for_a_while(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        lanes = Lanes(error=error)
        turns = limiter(lanes)
        for _ in range(4):  # two within AWAY
            await turns.turn(MODEL, 400, 50)
            assert len(caplog.records) == 1
            await asyncio.sleep(AWAY * 0.6)
        assert lanes.times == pytest.approx([0, 1.2 * AWAY])
        await asyncio.sleep(AWAY)
        lanes.error = None
        for _ in range(2):
            await turns.turn(MODEL, 400, 50)
            await asyncio.sleep(AWAY * 0.6)
        assert len(lanes.times) == 4

    with caplog.at_level(logging.WARNING, "worker.analyzers.openai.limiter"):
        run(test())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("the shared rate limit can't be reached: away; ")
    assert said[1] == "the shared rate limit is there again"


def test_the_lane_of_another_model_is_another() -> None:
    async def test() -> None:
        turns = limiter(Lanes())
        turn = await turns.turn(MODEL, 400, None)
        turns.answered(turn, Usage(1, 60, completion_tokens=30), 1.0, {})
        assert (await turns.turn("another", 400, None)).completion == FIRST_COMPLETION

    run(test())
