"""Waiting for one's turn at the API: the local end of the lanes that the whole fleet shares.

All calls of a process wait here in order, one queue a model, on the analyzer's event loop. One of
them asks Redis for all: how many may start within the next two seconds, and when. So a hundred
slots cost a few round trips a second, and no slot wakes up in vain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import redis

from rowfleet.analysis import Postponed, Usage
from rowfleet.queue.app import LONGEST_WAIT
from rowfleet.rate_limits.lane import (
    Granted,
    PerMinute,
    Report,
)
from worker.analyzers.openai.lane import LOOK, Lane, Turn, Waiter, back_in
from worker.analyzers.openai.shared_lanes import AWAY, Lanes

log = logging.getLogger(__name__)


class Limiter:
    """Gives turns to all calls of a process. All of it runs on one event loop."""

    def __init__(
        self,
        lanes: Lanes | None = None,
        given: PerMinute = PerMinute(),  # noqa: B008 (it is frozen)
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Without ``lanes`` the process is taken for the only one."""
        self._shared = lanes
        self._given = given
        self._is_ending = is_ending
        self._lanes: dict[str, Lane] = {}
        self._away_until: float | None = None
        self._watch: asyncio.Task[None] | None = None

    async def turn(
        self,
        model: str,
        size: int,
        most: int | None,
        *,
        longest: float = LONGEST_WAIT,
        again: bool = False,
        is_called_off: Callable[[], bool] = lambda: False,
    ) -> Turn:
        """Wait until a call with ``size`` bytes and at most ``most`` tokens of answer may start.

        ``again`` goes before calls that wait for their first try. Raises Postponed after
        ``longest`` seconds, when ``is_called_off``, and when the worker is ending.
        """
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(model, self._ask, self._given)
        turn = lane.estimated(size, most)
        if self._is_ending():
            raise Postponed("the worker is ending")
        waiter = Waiter(turn.prompt + turn.completion, is_called_off)
        lane.enter(waiter, first=again)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look_for_an_end())
        try:
            async with asyncio.timeout(longest):
                await waiter.future
        except TimeoutError:
            raise Postponed(
                f"no turn within {longest:.0f} s", delay=max(lane.pause_left(), back_in())
            ) from None
        return turn

    def answered(
        self, turn: Turn, usage: Usage, seconds: float, headers: Mapping[str, str]
    ) -> None:
        """Note what an answered call really used and took, and what the API said of its limits.

        A count in ``usage`` is a claim of the API's. Each byte sent is one token at most, and an
        answer has no more than was asked for or any model gives; what exceeds that is not learnt.
        """
        self._lanes[turn.model].answered(turn, usage, seconds, headers)

    def refused(self, turn: Turn, headers: Mapping[str, str]) -> float:
        """Pause the whole fleet after a 429, for MOST_PAUSE seconds at most.

        Return the seconds that the row is asked to wait, which may be more.
        """
        return self._lanes[turn.model].refused(headers)

    async def _ask(self, model: str, report: Report, costs: Sequence[float]) -> Granted | None:
        """Ask Redis; None if it is away."""
        now = asyncio.get_running_loop().time()
        if self._shared is None or (self._away_until is not None and now < self._away_until):
            return None
        try:
            granted = await self._shared.ask(model, report, costs)
        except (redis.RedisError, OSError) as error:
            if self._away_until is None:
                log.warning(
                    "the shared rate limit can't be reached: %s; "
                    "going on at this process's share of it",
                    error,
                )
            self._away_until = asyncio.get_running_loop().time() + AWAY
            return None
        if self._away_until is not None:
            log.warning("the shared rate limit is there again")
            self._away_until = None
        return granted

    async def _look_for_an_end(self) -> None:
        while any(lane.waiters for lane in self._lanes.values()):
            is_ending = self._is_ending()
            for lane in self._lanes.values():
                lane.give_back(everything=is_ending)
            await asyncio.sleep(LOOK)
