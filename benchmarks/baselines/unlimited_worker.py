"""The worker without the fleet's rate limit: each 429 is a row's own, to be tried again later.

`celery -A benchmarks.baselines.unlimited_worker worker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from rowfleet.analysis import Transient
from rowfleet.openai_api.headers import retry_after
from worker import celery as program
from worker.analyzers.openai import making
from worker.analyzers.openai.lane import Turn
from worker.analyzers.openai.limiter import Limiter


class Unlimited(Limiter):
    """Lets everybody go at once."""

    async def turn(self, model: str, size: int, most: int | None, **_: Any) -> Turn:
        return Turn(model, size, 0, 0, most is not None)

    def answered(self, *_: Any) -> None:
        pass

    def refused(self, _turn: Turn, headers: Mapping[str, str]) -> NoReturn:
        raise Transient("the API answered 429", retry_after=retry_after(headers))


making.limiter = lambda *_: Unlimited()
app = program.app
