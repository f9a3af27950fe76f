"""The local end of the rate limit by itself: what it asks for, reports, and does alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from rowfleet.analysis import Usage
from rowfleet.rate_limits.lane import HORIZON, Granted, PerMinute, Report
from worker.analyzers.openai.lane import FIRST_COMPLETION, FIRST_RATIO, WEIGHT, Lane
from worker.analyzers.openai.limiter import Limiter

MODEL = "gpt-5-mini"


class Lanes:
    """The shared end: notes what it is told, and grants all at once."""

    def __init__(self, **terms: Any) -> None:
        self.costs: list[float] = []
        self.report = Report()
        self.terms = terms

    async def ask(self, _model: str, report: Report, costs: Sequence[float]) -> Granted:
        self.costs += costs
        self.report += report
        terms = {"pause": 0, "processes": 1, "requests": 0, "tokens": 0, "completion": None}
        return Granted([0.0] * len(costs), None, **terms | self.terms)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def limiter(lanes: Lanes | None, given: PerMinute | None = None) -> Limiter:
    return Limiter(lanes, given or PerMinute())  # type: ignore[arg-type]  # lanes of the test


def alone(given: PerMinute, **last: Any) -> Any:
    """Return the lane of a process without Redis, for which the time stands still."""
    loop = asyncio.get_running_loop()
    moment = loop.time()
    loop.time = lambda: moment  # type: ignore[method-assign]  # time stands still
    lane = Lane(MODEL, limiter(None)._ask, given)
    if last:
        lane._last = Granted([], None, pause=0, completion=None, **last)
    return lane


async def reported(lanes: Lanes, calls: int) -> None:
    while lanes.report.calls < calls:
        await asyncio.sleep(0.01)


def test_a_call_is_asked_for_at_the_tokens_of_its_text_and_its_answer() -> None:
    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        await turns.turn(MODEL, 400, 50)
        await turns.turn(MODEL, 400, None)
        text = 400 * FIRST_RATIO
        assert lanes.costs == [text + 50, text + FIRST_COMPLETION]

    run(test())


def test_the_fleet_s_mean_answer_is_taken_until_one_was_seen_here() -> None:
    async def test() -> None:
        lanes = Lanes(completion=70.0)
        turns = limiter(lanes)
        await turns.turn(MODEL, 400, None)
        turn = await turns.turn(MODEL, 400, None)
        assert turn.completion == 70.0
        turns.answered(turn, Usage(1, 100, completion_tokens=30), 1.0, {})
        assert (await turns.turn(MODEL, 400, None)).completion == 30.0

    run(test())


@pytest.mark.parametrize("most", [None, 50])
def test_an_answer_is_reported_as_what_it_used(most: int | None) -> None:
    """Where the question names a maximum of tokens, the API counts all of them."""

    async def test() -> None:
        lanes = Lanes()
        turns = limiter(lanes)
        turn = await turns.turn(MODEL, 400, most)
        turns.answered(turn, Usage(1, 60, completion_tokens=30), 1.5, {})
        await reported(lanes, 1)
        counted = 30 if most is None else 50
        assert lanes.report == Report(
            surplus=60 + counted - turn.prompt - turn.completion,
            calls=1,
            seconds=1.5,
            used=60 + counted,
            completion=30,
        )

    run(test())


def test_estimates_follow_the_answers_a_little_each_time() -> None:
    async def test() -> None:
        turns = limiter(Lanes())
        turn = await turns.turn(MODEL, 400, None)
        turns.answered(turn, Usage(1, 60, completion_tokens=30), 1.0, {})
        turn = await turns.turn(MODEL, 400, None)
        ratio = FIRST_RATIO + WEIGHT * (60 / 400 - FIRST_RATIO)
        assert turn.prompt == pytest.approx(400 * ratio)
        assert turn.completion == pytest.approx(30)
        turns.answered(turn, Usage(1, 60, completion_tokens=50), 1.0, {})
        turn = await turns.turn(MODEL, 400, None)
        assert turn.prompt == pytest.approx(400 * (ratio + WEIGHT * (60 / 400 - ratio)))
        assert turn.completion == pytest.approx(30 + WEIGHT * 20)

    run(test())


@pytest.mark.parametrize(
    ("given", "apart"),
    [
        (PerMinute(60, 0), 1.0),
        (PerMinute(0, 600), 1.0),
        (PerMinute(120, 600), 1.0),
        (PerMinute(60, 6000), 1.0),
        (PerMinute(120, 0), 0.5),
    ],
)
def test_a_process_alone_starts_calls_evenly_and_says_when_there_are_more(
    given: PerMinute, apart: float
) -> None:
    """By the narrower limit: of requests, or of tokens, of which each call takes ten."""

    async def test() -> None:
        lane = alone(given)
        granted = lane._alone([10.0] * 20)
        wanted = round(HORIZON / apart) + 1
        assert len(granted.starts) == wanted
        assert list(granted.starts) == pytest.approx([n * apart for n in range(wanted)])
        assert granted.more_in == pytest.approx(wanted * apart - HORIZON)
        later = lane._alone([10.0])
        assert (list(later.starts), later.more_in) == ([], pytest.approx(apart))

    run(test())


def test_without_a_limit_a_process_alone_starts_all() -> None:
    async def test() -> None:
        granted = alone(PerMinute())._alone([10.0] * 20)
        assert list(granted.starts) == [0.0] * 20
        assert granted.more_in is None

    run(test())


def test_a_process_that_lost_the_others_takes_its_share_of_their_limit() -> None:
    async def test() -> None:
        lane = alone(PerMinute(), processes=4, requests=480, tokens=9600)
        granted = lane._alone([10.0] * 3)
        assert list(granted.starts) == pytest.approx([0, 0.5, 1.0])
        assert (granted.processes, granted.requests, granted.tokens) == (4, 480, 9600)
        lane = alone(PerMinute(), processes=4, requests=0, tokens=2400)
        assert list(lane._alone([10.0] * 3).starts) == pytest.approx([0, 1.0, 2.0])
        lane = alone(PerMinute(), processes=7, requests=480, tokens=0)  # 68.6 a minute each
        assert list(lane._alone([10.0] * 2).starts) == pytest.approx([0, 0.875])
        lane = alone(PerMinute(), processes=7, requests=0, tokens=4800)
        assert list(lane._alone([10.0] * 2).starts) == pytest.approx([0, 0.875])

    run(test())


def test_after_a_refusal_a_process_alone_waits_too() -> None:
    async def test() -> None:
        lane = alone(PerMinute())
        assert lane.pause_left() == 0
        assert lane.refused({"retry-after": "7"}) == 7
        assert lane.pause_left() == pytest.approx(7)
        assert lane._alone([10.0]).more_in == pytest.approx(7 - HORIZON)
        lane.refused({"retry-after": "3"})
        assert lane.pause_left() == pytest.approx(7)  # an earlier end does not shorten it

    run(test())
