"""The call log. A call is a request that arrived whole, whatever became of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Call:
    """One request."""

    #: Position in the log's life, from 1.
    number: int
    #: Unix time, in seconds, at which the request had arrived whole.
    time: float
    #: `chat` or `responses`.
    api: str
    #: The row it asks about; None if it holds none or was turned away before it was read.
    row: int | None
    #: Hash of the row's number and JSON: tells row 12 of one sheet from row 12 of another.
    key: str | None
    #: Which request for this key it is, from 1.
    attempt: int
    #: Calls in flight at that time, this one included.
    in_flight: int
    #: `ok`, a fault's kind, or `unauthorized`, `bad_request`, `unknown_model`, `over_limit`.
    outcome: str = "ok"
    #: HTTP status sent; None while there is none, and for ever with `hang`.
    status: int | None = None
    #: Tokens the answer says were used; 0 for an answer without usage.
    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Unix time at which the stand-in was done with it; None while in flight.
    ended: float | None = None
    #: Whether the whole answer was written to the socket; False if the client left before.
    delivered: bool = False
    #: The request's JSON, with `keep_bodies`.
    body: dict[str, Any] | None = None


class CallLog:
    """All calls since the start or since it was last cleared."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._attempts: Counter[str] = Counter()
        self._number = 0
        self._in_flight = 0
        self._peak = 0

    def arrived(self, api: str) -> Call:
        """Record a request that has arrived whole."""
        self._number += 1
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        call = Call(self._number, time.time(), api, None, None, 0, self._in_flight)
        self.calls.append(call)
        return call

    def identified(self, call: Call, row: int | None, key: str) -> None:
        """Record which row ``call`` asks about, and the how-manieth time."""
        self._attempts[key] += 1
        call.row, call.key, call.attempt = row, key, self._attempts[key]

    def ended(self, call: Call) -> None:
        """Record that ``call`` is no longer in flight."""
        call.ended = time.time()
        self._in_flight -= 1

    def clear(self) -> None:
        """Forget all calls and attempts; those in flight still count as such."""
        self.calls.clear()
        self._attempts.clear()
        self._peak = self._in_flight

    def summary(self) -> dict[str, Any]:
        """Return totals: calls, outcomes, and calls for each row number and each row key."""
        return {
            "calls": len(self.calls),
            "outcomes": dict(Counter(call.outcome for call in self.calls)),
            "rows": dict(Counter(call.row for call in self.calls if call.row is not None)),
            "keys": dict(self._attempts),
            "in_flight": self._in_flight,
            "peak_in_flight": self._peak,
            "undelivered": sum(c.ended is not None and not c.delivered for c in self.calls),
            "prompt_tokens": sum(call.prompt_tokens for call in self.calls),
            "completion_tokens": sum(call.completion_tokens for call in self.calls),
        }
