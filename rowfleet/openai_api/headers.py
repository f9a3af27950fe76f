"""What an answer's headers say of the rate limits: `Retry-After`, `x-ratelimit-*`.

https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Seconds in which a limit a minute has refilled, with some doubt left to rounding. One that takes
#: longer is a day's: it is no measure of how fast to go.
LONGEST_REFILL = 120.0

#: Part of an allowance that counts as hardly anything.
LOW = 0.02

#: Seconds to pause after a 429 that does not say how long; and at most, whatever is asked for. No
#: limit of a minute takes an hour, and an API that is still not ready then says so again.
PAUSE, LONGEST_PAUSE = 2.0, 3600.0

#: Requests or tokens a minute that a header can name, at least and at most. What lies outside is no
#: limit of the API's: calls would stand still for days, or a lane's arithmetic overflow.
LIMITS = (1.0, 1e12)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rest of a limit."""

    limit: float
    remaining: float | None
    #: Seconds until nothing of it is used any more.
    reset: float | None

    @property
    def per_minute(self) -> float | None:
        """The limit, if it is a minute's."""
        used = self.limit - (self.limit if self.remaining is None else self.remaining)
        if used > 0 and self.reset and self.reset * self.limit / used > LONGEST_REFILL:
            return None
        return self.limit

    @property
    def is_low(self) -> bool:
        """Whether hardly anything of a minute's limit is left."""
        left = self.remaining
        return left is not None and left < LOW * self.limit and self.per_minute is not None


def allowance(headers: Mapping[str, str], what: str) -> Allowance | None:
    """Return what ``headers`` say of ``what``, `requests` or `tokens`; None without a word."""
    limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
    if limit is None or not LIMITS[0] <= limit <= LIMITS[1]:
        return None
    return Allowance(
        limit,
        _number(headers.get(f"x-ratelimit-remaining-{what}")),
        duration(headers.get(f"x-ratelimit-reset-{what}", "")),
    )


def pause_after_refusal(headers: Mapping[str, str]) -> float:
    """Return the seconds that a 429 asks to wait, at most LONGEST_PAUSE."""
    asked = retry_after(headers)
    if asked is not None:
        return asked
    resets = []
    for what in ("requests", "tokens"):
        found = allowance(headers, what)
        if found and found.remaining == 0 and found.reset:
            resets.append(found.reset)
    return min(max(resets, default=PAUSE), LONGEST_PAUSE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` (or `retry-after-ms`) asks for, None without one.

    From 0 to LONGEST_PAUSE, which the RFC does not bound.
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_PAUSE)
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None:
        return min(seconds, LONGEST_PAUSE)
    try:
        left = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, LookupError):  # what the parser makes of it
        return None
    return min(max(0.0, left), LONGEST_PAUSE)


def duration(text: str) -> float | None:
    """Return the seconds of a header's duration: 120ms, 1.5s, 6m0s; None if it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return _number(text)
    return _finite(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return _finite(number)


def _finite(number: float) -> float | None:
    return max(0.0, number) if math.isfinite(number) else None
