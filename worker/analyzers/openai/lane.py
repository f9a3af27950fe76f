"""A process's own end of a lane: rows wait here for their turn."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowfleet.analysis import Postponed, Usage
from rowfleet.openai_api.headers import allowance, pause_after_refusal
from rowfleet.rate_limits.lane import (
    HORIZON,
    MOST_PAUSE,
    Granted,
    PerMinute,
    Report,
)

#: Calls asked for at once.
GROUP = 200

#: Seconds between two askings of a process that has to wait, at least; and askings a second of
#: the whole fleet, about.
PACE, ASKINGS = 0.25, 200.0

#: Seconds that reports of ended calls may wait for a request that takes it along.
FLUSH = 1.0

#: Seconds between looks whether the worker is ending.
LOOK = 0.25

#: Seconds, least and most, until a row that was given back is run again. Spread.
BACK_IN = (1.0, 5.0)

#: Tokens a byte of text, and tokens of an answer, until some have been seen.
FIRST_RATIO, FIRST_COMPLETION = 0.25, 200.0

#: Tokens of an answer, at most, where the question names no maximum: the largest output that any
#: model offers, DeepSeek V4's (https://api-docs.deepseek.com/quick_start/pricing). OpenAI's models
#: offer 128,000.
MOST_COMPLETION = 384_000

#: Weight of one call in the running means of both.
WEIGHT = 0.05


@dataclass(slots=True)
class Turn:
    """A call that may start now, and what it was taken to cost."""

    model: str
    #: Bytes of all that is sent.
    size: int
    prompt: float
    completion: float
    #: Whether ``completion`` is the most it may use. That is what the API counts then, whatever
    #: is used of it.
    is_most: bool


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for its turn."""

    cost: float
    is_called_off: Callable[[], bool]
    future: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


Ask = Callable[[str, Report, Sequence[float]], Any]


class Lane:
    """The calls of this process to one model."""

    def __init__(self, model: str, ask: Ask, given: PerMinute) -> None:
        self._model = model
        self._ask = ask
        self._given = given
        #: All that wait, granted or not.
        self.waiters: set[Waiter] = set()
        self._line: deque[Waiter] = deque()
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._report = Report()
        self._last: Granted | None = None
        self._paused_until = 0.0
        self._next_alone = 0.0
        self._ratio = FIRST_RATIO
        self._completion: float | None = None

    def estimated(self, size: int, most: int | None) -> Turn:
        """Return a turn with its cost estimated from what calls have used so far."""
        seen = self._completion
        if seen is None and self._last is not None:
            seen = self._last.completion
        completion = float(most) if most is not None else FIRST_COMPLETION if seen is None else seen
        return Turn(self._model, size, size * self._ratio, completion, most is not None)

    def enter(self, waiter: Waiter, *, first: bool) -> None:
        """Let a call wait in line."""
        self.waiters.add(waiter)
        waiter.future.add_done_callback(lambda _: self.waiters.discard(waiter))
        if first:
            self._line.appendleft(waiter)
        else:
            self._line.append(waiter)
        self._wake()

    def give_back(self, *, everything: bool) -> None:
        """End the waiting of those that are called off, or of all: the worker is ending."""
        for waiter in list(self.waiters):
            if not waiter.future.done() and (everything or waiter.is_called_off()):
                why = "the worker is ending" if everything else "its batch has ended"
                waiter.future.set_exception(Postponed(why))

    def pause_left(self) -> float:
        """Return the seconds of pause that are left."""
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())

    def answered(
        self, turn: Turn, usage: Usage, seconds: float, headers: Mapping[str, str]
    ) -> None:
        """Note a call's usage and duration in seconds, and its headers."""
        prompt: float
        completion: float
        if is_counted := usage.calls > usage.uncounted:
            most = turn.completion if turn.is_most else MOST_COMPLETION
            prompt = min(usage.prompt_tokens, turn.size)
            completion = min(usage.completion_tokens, most)
        else:  # what it was taken for stays
            prompt = turn.prompt
            completion = turn.completion if self._completion is None else self._completion
        counted = turn.completion if turn.is_most else completion
        surplus = 0.0
        if is_counted:
            surplus = prompt + counted - turn.prompt - turn.completion
            self._ratio += WEIGHT * (prompt / max(1, turn.size) - self._ratio)
            seen = completion if self._completion is None else self._completion
            self._completion = seen + WEIGHT * (completion - seen)
        self._add(
            _said(headers)
            + Report(
                surplus=surplus,
                calls=1,
                seconds=seconds,
                used=prompt + counted,
                completion=completion,
            )
        )

    def refused(self, headers: Mapping[str, str]) -> float:
        """Note a refusal (429). Return the pause of the lane, in seconds."""
        asked = pause_after_refusal(headers)
        pause = min(asked, MOST_PAUSE)
        self._pause(pause, since=asyncio.get_running_loop().time())
        self._add(_said(headers) + Report(pause=pause))
        self._urgent.set()
        self._wake()
        return asked

    def _pause(self, seconds: float, *, since: float) -> None:
        self._paused_until = max(self._paused_until, since + seconds)

    def _add(self, report: Report) -> None:
        self._report = self._report + report
        self._start()

    def _wake(self) -> None:
        self._news.set()
        self._start()

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        """Ask for the waiting calls, until none waits and everything is reported."""
        while True:
            if not self._line:
                await _wait(self._news, FLUSH)
                if not self._line and self._report == Report():
                    return
            self._news.clear()
            self._urgent.clear()
            waiting = [w for w in self._line if not w.future.done()][:GROUP]
            report, self._report = self._report, Report()
            costs = [waiter.cost for waiter in waiting]
            asked_at = asyncio.get_running_loop().time()
            granted = await self._ask(self._model, report, costs)
            if granted is None:
                granted = self._alone(costs)
            else:
                self._last = granted
                # Since the asking: by a pause that seems to end later than in Redis, calls granted
                # for its end would have to ask, and pay, again.
                self._pause(granted.pause, since=asked_at)
            self._let_go(waiting, granted)
            if granted.more_in is not None:
                spread = random.uniform(0.8, 1.2)  # noqa: S311 (not a secret)
                pace = max(PACE, granted.processes / ASKINGS) * spread
                await _wait(self._urgent, max(pace, granted.more_in))

    def _let_go(self, waiting: Sequence[Waiter], granted: Granted) -> None:
        loop = asyncio.get_running_loop()
        gone = set(waiting[: len(granted.starts)])
        self._line = deque(w for w in self._line if w not in gone and not w.future.done())
        for waiter, start in zip(waiting, granted.starts, strict=False):
            loop.call_later(start, self._begin, waiter)

    def _begin(self, waiter: Waiter) -> None:
        if waiter.future.done():
            return
        if self.pause_left() > 0:  # it came after the grant
            self._line.appendleft(waiter)
            self._wake()
        else:
            waiter.future.set_result(None)

    def _alone(self, costs: Sequence[float]) -> Granted:
        """Grant this process's share of the limits that were in force when Redis last answered."""
        now = asyncio.get_running_loop().time()
        last = self._last
        others = last.processes if last else 1
        requests = (last.requests if last else self._given.requests or 0) / others
        tokens = (last.tokens if last else self._given.tokens or 0) / others
        at = max(now, self._paused_until, self._next_alone)
        starts: list[float] = []
        more_in = None
        for cost in costs:
            if at > now + HORIZON:
                more_in = at - now - HORIZON
                break
            starts.append(at - now)
            at += max(60 / requests if requests else 0, 60 * cost / tokens if tokens else 0)
        self._next_alone = at
        return Granted(starts, more_in, 0, others, requests * others, tokens * others, None)


def _said(headers: Mapping[str, str]) -> Report:
    """Return what the API said of its limits."""
    requests, tokens = allowance(headers, "requests"), allowance(headers, "tokens")
    return Report(
        requests=(requests and requests.per_minute) or 0,
        tokens=(tokens and tokens.per_minute) or 0,
        is_low=any(found.is_low for found in (requests, tokens) if found),
    )


def back_in() -> float:
    """Return the seconds until a row that was given back is run again."""
    return random.uniform(*BACK_IN)  # noqa: S311 (not a secret)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
