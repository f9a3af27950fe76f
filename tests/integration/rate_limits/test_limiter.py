"""The local end of the rate limit: who waits here, in which order, and who need not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
import redis

from rowfleet.analysis import UNANSWERED, Postponed, Usage
from rowfleet.rate_limits.lane import MOST_PAUSE, Granted, PerMinute, Report, lane_name
from rowfleet.received import MAX_TOKENS
from tests.support import brokers
from worker.analyzers.openai.lane import FIRST_COMPLETION, MOST_COMPLETION, WEIGHT
from worker.analyzers.openai.limiter import Limiter
from worker.analyzers.openai.shared_lanes import Lanes

MODEL = "gpt-5-mini"

#: A hundred a second, of what is used.
FAST = PerMinute(6000 / 0.99, 0)

Make = Callable[..., Limiter]


@pytest.fixture
def make(redis_url: str) -> Make:
    """A function that makes the limiter of one more process of the fleet."""

    def limiter(given: PerMinute = FAST, **options: Any) -> Limiter:
        lanes = Lanes(
            options.pop("url", redis_url),
            prefix="",
            queue="q",
            api_key="sk-secret",
            base_url=None,
            limits=given,
        )
        return Limiter(lanes, given, **options)

    return limiter


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_those_who_wait_go_in_order_and_evenly(make: Make) -> None:
    async def test() -> None:
        limiter = make()
        began: list[tuple[int, float]] = []

        async def call(number: int) -> None:
            await limiter.turn(MODEL, 400, None)
            began.append((number, time.monotonic()))

        await asyncio.gather(*(call(number) for number in range(250)))
        assert [number for number, _ in began] == sorted(number for number, _ in began)
        times = [at for _, at in began]
        # A second's worth at once, the other 150 in one and a half.
        assert times[-1] - times[0] >= 1.4
        later = times[110:]
        assert max(b - a for a, b in pairwise(later)) < 0.5  # not in a rush at some second

    run(test())


def test_several_processes_share_the_limit(make: Make) -> None:
    async def test() -> None:
        fleet = [make() for _ in range(4)]
        began = time.monotonic()
        await asyncio.gather(*(limiter.turn(MODEL, 400, None) for limiter in fleet * 60))
        assert time.monotonic() - began >= 1.3  # 240 at 100 a second, of which 100 at once

    run(test())


def test_asking_is_rare_however_many_wait(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    ask = Lanes.ask

    async def counted(lanes: Lanes, model: str, report: Any, costs: Any) -> Any:
        asked.append(len(costs))
        return await ask(lanes, model, report, costs)

    monkeypatch.setattr(Lanes, "ask", counted)

    async def test() -> None:
        limiter = make()
        await asyncio.gather(*(limiter.turn(MODEL, 400, None) for _ in range(300)))

    run(test())
    assert len(asked) <= 20


def test_who_was_refused_goes_first_after_a_pause_that_all_keep(make: Make) -> None:
    async def test() -> None:
        first, second = make(), make()
        turn = await first.turn(MODEL, 400, None)
        assert first.refused(turn, {"retry-after": "2.6"}) == 2.6
        began = time.monotonic()
        order: list[str] = []

        async def call(limiter: Limiter, name: str, *, again: bool = False) -> None:
            await limiter.turn(MODEL, 400, None, again=again)
            order.append(name)
            assert time.monotonic() - began >= 2.5

        new = asyncio.create_task(call(first, "new"))
        await asyncio.sleep(0.2)
        await asyncio.gather(
            new, call(first, "refused", again=True), call(second, "another process")
        )
        assert order.index("refused") < order.index("new")

    run(test())


def test_one_row_that_is_told_to_wait_for_an_hour_does_not_hold_up_the_fleet(make: Make) -> None:
    async def test() -> None:
        first, second = make(), make()
        turn = await first.turn(MODEL, 400, None)
        assert first.refused(turn, {"retry-after": "3600"}) == 3600  # the row's to heed
        for limiter in (first, second):
            with pytest.raises(Postponed) as caught:
                await limiter.turn(MODEL, 400, None, longest=0.5)
            assert 0 < caught.value.delay <= MOST_PAUSE

    run(test())


def test_a_slow_answer_of_redis_does_not_make_a_granted_call_ask_again(redis_url: str) -> None:
    """It would be charged twice, and those who asked later would start before it."""

    class Slow(Lanes):
        seconds = 0.0
        granted = 0

        async def ask(self, *args: Any) -> Granted:
            answer = await super().ask(*args)
            Slow.granted += len(answer.starts)
            await asyncio.sleep(Slow.seconds)
            return answer

    async def test() -> None:
        lanes = Slow(redis_url, prefix="", queue="q", api_key="k", base_url=None, limits=FAST)
        limiter = Limiter(lanes, FAST)
        turn = await limiter.turn(MODEL, 400, None)
        began = time.monotonic()
        limiter.refused(turn, {"retry-after": "2"})
        early = asyncio.create_task(limiter.turn(MODEL, 400, None, again=True))
        while Slow.granted < 2:  # for the end of the pause, which is near enough
            await asyncio.sleep(0.01)
        assert time.monotonic() - began < 2
        Slow.seconds = 0.2
        late = asyncio.create_task(limiter.turn(MODEL, 400, None))
        await asyncio.gather(early, late)
        assert Slow.granted == 3

    run(test())


def test_the_api_s_own_limits_are_learnt_and_usage_corrects_estimates(make: Make) -> None:
    async def test() -> None:
        limiter = make(PerMinute())
        turn = await limiter.turn(MODEL, 4_000, None)
        assert (turn.prompt, turn.completion) == (1000, 200)
        usage = Usage(calls=1, prompt_tokens=2_000, completion_tokens=1_000)
        said = {"x-ratelimit-limit-tokens": "60000", "x-ratelimit-limit-requests": "6000"}
        limiter.answered(turn, usage, 8.0, said)
        other = make(PerMinute())
        await asyncio.sleep(1.5)  # what was seen goes along with the next asking, or by itself
        began = time.monotonic()
        for _ in range(3):
            turn = await other.turn(MODEL, 4_000, None)
        # 1,000 tokens a second: the third waits until the first two are paid for.
        assert time.monotonic() - began >= 1.0
        assert turn.completion == 1_000  # from the other process

    run(test())


def test_an_answer_that_does_not_say_what_it_used_leaves_the_estimate(
    make: Make, redis_url: str
) -> None:
    async def test() -> None:
        limiter = make(PerMinute(0, 60_000_000))
        for usage in (
            Usage(calls=1, prompt_tokens=500, completion_tokens=100),
            Usage(calls=1, uncounted=1),
            Usage(calls=1, prompt_tokens=4_000, uncounted=1),
            UNANSWERED,
        ):
            limiter.answered(await limiter.turn(MODEL, 4_000, None), usage, 1.0, {})
        later = await limiter.turn(MODEL, 4_000, None)
        assert later.completion == 100
        assert later.prompt == pytest.approx(1_000 + WEIGHT * (500 - 1_000))

    run(test())
    lane = redis.Redis.from_url(redis_url, decode_responses=True).hgetall(
        lane_name("", MODEL, "sk-secret", None)
    )
    assert isinstance(lane, dict)
    assert float(lane["completion"]) == pytest.approx(100)
    assert float(lane["tokens"]) > 600


@pytest.mark.parametrize("most", [None, 500])
def test_a_false_count_teaches_no_more_than_a_call_can_use(
    make: Make, redis_url: str, most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Report] = []
    ask = Lanes.ask

    async def kept(lanes: Lanes, model: str, report: Report, costs: Any) -> Any:
        learnt.append(report)
        return await ask(lanes, model, report, costs)

    monkeypatch.setattr(Lanes, "ask", kept)
    false = Usage(calls=1, prompt_tokens=MAX_TOKENS, completion_tokens=MAX_TOKENS)
    given = PerMinute(0, 60_000_000)

    async def test() -> None:
        limiter = make(given)
        turn = await limiter.turn(MODEL, 4_000, most)
        limiter.answered(turn, false, 1.0, {})
        later = await limiter.turn(MODEL, 4_000, most)
        assert later.prompt <= 4_000
        assert later.completion <= (most or MOST_COMPLETION)

    run(test())
    largest = most or MOST_COMPLETION
    (report,) = [report for report in learnt if report.calls]
    assert report.surplus == 4_000 + largest - 1_000 - (most or FIRST_COMPLETION)
    assert report.used == 4_000 + largest
    assert report.completion == largest
    lane = redis.Redis.from_url(redis_url, decode_responses=True).hgetall(
        lane_name("", MODEL, "sk-secret", None)
    )
    assert isinstance(lane, dict)
    assert float(lane["tokens"]) == 4_000 + largest
    assert float(lane["completion"]) == largest
    # A million tokens a second: the lane is whole again after a second, not after a minute.
    assert float(lane["t"]) - float(lane["fa"]) < 5


def test_the_most_an_answer_may_take_is_what_it_costs(make: Make) -> None:
    async def test() -> None:
        limiter = make()
        assert (await limiter.turn(MODEL, 400, 5_000)).completion == 5_000

    run(test())


def test_no_call_waits_for_ever(make: Make) -> None:
    async def test() -> None:
        limiter = make(PerMinute(1, 0))
        await limiter.turn(MODEL, 400, None)
        with pytest.raises(Postponed) as caught:
            await limiter.turn(MODEL, 400, None, longest=0.5)
        assert caught.value.delay > 0

    run(test())


def test_all_are_given_back_when_the_worker_ends(make: Make) -> None:
    async def test() -> None:
        ending = False
        limiter = make(PerMinute(1, 0), is_ending=lambda: ending)
        await limiter.turn(MODEL, 400, None)
        waiting = [asyncio.create_task(limiter.turn(MODEL, 400, None)) for _ in range(50)]
        await asyncio.sleep(0.5)
        ending = True
        began = time.monotonic()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {Postponed}
        assert time.monotonic() - began < 5
        with pytest.raises(Postponed):
            await limiter.turn(MODEL, 400, None)

    run(test())


def test_without_the_broker_a_process_goes_on_at_its_share_and_says_so_once(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("limiter", "shared_lanes"):
        monkeypatch.setattr(f"worker.analyzers.openai.{module}.AWAY", 0.3)
    server = brokers.started()
    url = f"redis://127.0.0.1:{server.port}/0"

    async def test() -> None:
        nonlocal server
        one, two = make(url=url), make(url=url)
        await asyncio.gather(one.turn(MODEL, 400, None), two.turn(MODEL, 400, None))
        await one.turn(MODEL, 400, None)  # now it knows that they are two
        port = server.port
        server.stop()
        began = time.monotonic()
        await asyncio.gather(*(one.turn(MODEL, 400, None) for _ in range(100)))
        assert time.monotonic() - began >= 1.7  # a hundred at half of a hundred a second
        said = [
            r.getMessage() for r in caplog.records if r.name == "worker.analyzers.openai.limiter"
        ]
        assert len(said) == 1
        assert "can't be reached" in said[0]
        server = brokers.started(port)
        await asyncio.sleep(0.4)
        await one.turn(MODEL, 400, None)
        assert caplog.messages[-1] == "the shared rate limit is there again"

    with caplog.at_level(logging.WARNING):
        try:
            run(test())
        finally:
            server.stop()
