"""How many rows the API lets in, for the autoscaler."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from rowfleet import analyzer_kinds
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import fleet
from rowfleet.queue.client import Queue
from rowfleet.queue.keys import LARGEST_CAP
from rowfleet.rate_limits.lane import PerMinute

#: Seconds of a call where none has been seen yet; a guess that keeps a new fleet in proportion.
UNKNOWN_LATENCY = 10.0

#: Pods beyond what the limit lets through: latency varies, and a slot is busy between calls, too.
MARGIN = 1.1

#: Seconds between renewals of the cap, and seconds without one after which there is none.
CAP_INTERVAL, CAP_TTL = 2.0, 60


def calls_in_flight(
    *, requests: float | None, tokens: float | None, seconds: float | None, per_call: float | None
) -> int | None:
    """Return how many calls at once use the limits up, and a margin; None without a limit.

    ``requests`` and ``tokens`` are a minute's; a call takes ``seconds`` and uses ``per_call``
    tokens. By Little's law the number in a system is its rate times the time spent in it.
    """
    rates = []
    if requests:
        rates.append(requests)
    if tokens and per_call:
        rates.append(tokens / per_call)
    if not rates:
        return None
    calls = min(rates) / 60 * (seconds or UNKNOWN_LATENCY) * MARGIN
    return max(1, math.ceil(round(calls, 6)))


class Cap:
    """Tells the autoscaler how many calls the limits let a queue's live batches have in flight.

    KEDA's Redis scaler knows sizes and nothing else. So the cap is the length of a list,
    `QUEUE.cap`; there is no cap where there is no list. Any process may write it, at any time:
    all write the same.
    """

    def __init__(self, engine: Engine, queue: Queue, limits: PerMinute) -> None:
        self._engine = engine
        self._queue = queue
        self._limits = limits
        self._next = 0.0

    def write(self) -> None:
        """Renew the cap, every two seconds at most. Raises ServiceError."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CAP_INTERVAL
        with reading(self._engine) as connection:
            asked = fleet.live_models(connection, self._queue.name)
        if asked:
            self._queue.set_cap(self._size(asked), CAP_TTL)

    def _size(self, asked: Iterable[tuple[str, str]]) -> int | None:
        total = 0
        for analyzer, model in asked:
            kind = analyzer_kinds.find(analyzer)
            size = self._of(model) if kind is not None and kind.asks_openai else None
            if size is None:
                return None  # a model without a limit needs all pods
            total += size
        return min(total, LARGEST_CAP)

    def _of(self, model: str) -> int | None:
        lane = self._queue.lane(model)
        part = min(1.0, lane.get("f", 1.0))
        requests = _first(self._limits.requests, lane.get("gr"), lane.get("lr"))
        tokens = _first(self._limits.tokens, lane.get("gt"), lane.get("lt"))
        return calls_in_flight(
            requests=requests and requests * part,
            tokens=tokens and tokens * part,
            seconds=lane.get("seconds"),
            per_call=lane.get("tokens"),
        )


def _first(*limits: float | None) -> float | None:
    return next((limit for limit in limits if limit is not None), None)
