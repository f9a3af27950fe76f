"""An event loop whose clock goes on at once to the next moment at which something is due."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

#: Steps of the loop at one moment, and seconds of a test, at most. A test that would not end fails.
MOST_STEPS, MOST_SECONDS = 10_000, 20_000.0


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: the seconds that the loop would wait are over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._steps = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing is due any more, and the test has not ended"
        self._steps = 0 if timeout > 0 else self._steps + 1
        assert self._steps < MOST_STEPS, "the clock stands still"
        self.now += max(0.0, timeout)
        assert self.now < MOST_SECONDS, "the test has not ended"
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that waits for the clock alone; its hours take no time. The clock starts at 0."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(test)


def now() -> float:
    """Return the seconds since the test began."""
    return asyncio.get_running_loop().time()
