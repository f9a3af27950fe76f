"""Simulated time, and the cores of a node, which all that works there shares."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.autoscaling.times import CROWDED


class Clock:
    """Simulated time: what shall happen, in the order in which it does."""

    def __init__(self) -> None:
        #: Seconds since the start of the simulation.
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Let it happen in so many seconds."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happens))

    def step(self) -> None:
        """Go on to the next event."""
        self.now, _, happens = heapq.heappop(self._events)
        happens()


@dataclass(slots=True, eq=False)
class _Work:
    #: Seconds of a core.
    left: float
    then: Callable[[], None]


class Cores:
    """The cores of a node."""

    def __init__(self, count: float, clock: Clock) -> None:
        self._count, self._clock = count, clock
        self._working: list[_Work] = []
        self._shared_out = 0.0

    def work(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        """Use so much of a core, or of the share of one that there is, and go on."""
        if self._count == math.inf:
            self._clock.after(seconds, then)
            return
        self._share_out()
        self._working.append(_Work(seconds, then))
        self._look_again()

    def _speed(self) -> float:
        """Return how much of its work each that works gets done in a second."""
        share = self._count / max(1, len(self._working))
        return 1.0 if share >= 1 else share / CROWDED

    def _share_out(self) -> None:
        """Take off what was done since this was last called."""
        done = (self._clock.now - self._shared_out) * self._speed()
        self._shared_out = self._clock.now
        for work in self._working:
            work.left -= done

    def _look_again(self) -> None:
        """Come back when the next one will have done its work."""
        if self._working:
            least = min(work.left for work in self._working)
            self._clock.after(max(0.0, least / self._speed()), self._worked)

    def _worked(self) -> None:
        self._share_out()
        done = [work for work in self._working if work.left < 1e-6]
        if done:
            self._working = [work for work in self._working if work not in done]
            self._look_again()
        for work in done:
            work.then()
