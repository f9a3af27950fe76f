"""The enforced rate limit: token buckets that fill evenly, as the API's own do.

The API tells what is left of a minute's worth, and enforces its limits over shorter times. So a
bucket here holds some seconds' worth, and its headers speak of the whole minute.
"""

from __future__ import annotations

from math import ceil


class Bucket:
    """Lets ``per_minute`` units a minute through, at most ``burst_seconds``' worth at once."""

    def __init__(self, per_minute: float, burst_seconds: float, now: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._capacity = max(1.0, self._rate * burst_seconds)
        self._level = self._capacity
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` may be taken; 0 is now.

        More than the bucket can ever hold may be taken when it is full.
        """
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(amount, self._capacity) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take ``amount``, which `wait` allowed; the level can fall below nothing."""
        self._level -= amount

    def headers(self, what: str) -> dict[str, str]:
        """Return the three x-ratelimit headers for ``what`` (`requests` or `tokens`)."""
        used = self._capacity - self._level
        return {
            f"x-ratelimit-limit-{what}": str(round(self.per_minute)),
            f"x-ratelimit-remaining-{what}": str(max(0, int(self.per_minute - used))),
            f"x-ratelimit-reset-{what}": duration(used / self._rate),
        }


def duration(seconds: float) -> str:
    """Return ``seconds`` as the API writes them in a header: 120ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{ceil(seconds % 60)}s"
