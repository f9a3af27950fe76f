"""What the API lets the whole fleet do: a lane per model and key, shared through Redis.

A lane's arithmetic is `lane.lua`, one atomic call each time: GCRA for requests and tokens
together, so that calls go evenly and not in bursts. `Cap` tells the autoscaler how many calls a
lane can have in flight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowfleet.queue.keys import LARGEST_CAP, number_in

#: What a lane does, in Redis' own time.
SCRIPT = (Path(__file__).parent / "lane.lua").read_text("utf-8")

#: Seconds ahead for which calls are granted: processes ask a few times a second, and each finds
#: the next calls still to be had. A granted call that is not made is lost.
HORIZON = 2.0

#: Seconds that one 429 pauses the whole fleet, at most; the script's MOST_PAUSE. The limits are a
#: minute's. A row that is told to wait for longer does, alone.
MOST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class PerMinute:
    """Limits a minute for each model: None goes by what the API says, 0 is none."""

    requests: float | None = None
    tokens: float | None = None


def lane_name(prefix: str, model: str, api_key: str, base_url: str | None) -> str:
    """Return the Redis key of the lane of ``model``. The API key can't be told from it."""
    whose = hashlib.blake2b(f"{base_url or ''}\0{api_key}".encode(), digest_size=6).hexdigest()
    return f"{prefix}rowfleet.limit.{whose}.{model}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a process has seen of a lane since it last asked."""

    #: Limits a minute that the API named.
    requests: float = 0
    tokens: float = 0
    #: Tokens used beyond those asked for; below 0 if fewer were.
    surplus: float = 0
    #: Calls that were answered, their seconds, tokens and completion tokens altogether.
    calls: int = 0
    seconds: float = 0
    used: float = 0
    completion: float = 0
    #: Seconds to pause, after a 429.
    pause: float | None = None
    #: Whether the API says that hardly anything is left.
    is_low: bool = False

    def __add__(self, other: Report) -> Report:
        pauses = [p for p in (self.pause, other.pause) if p is not None]
        return Report(
            requests=other.requests or self.requests,
            tokens=other.tokens or self.tokens,
            surplus=self.surplus + other.surplus,
            calls=self.calls + other.calls,
            seconds=self.seconds + other.seconds,
            used=self.used + other.used,
            completion=self.completion + other.completion,
            pause=max(pauses) if pauses else None,
            is_low=self.is_low or other.is_low,
        )


@dataclass(frozen=True, slots=True)
class Granted:
    """What a lane answered."""

    #: Seconds until each of the first calls may start.
    starts: Sequence[float]
    #: Seconds until there can be more; None if all were granted.
    more_in: float | None
    #: Seconds of pause that are left.
    pause: float
    #: Processes that have asked within the last minute.
    processes: int
    #: Requests and tokens a minute in force, 0 for no limit.
    requests: float
    tokens: float
    #: Mean of an answer's tokens, None if none has been seen.
    completion: float | None


def arguments(
    process: str, model: str, limits: PerMinute, report: Report, costs: Sequence[float]
) -> list[str | float]:
    """Return what the script takes, to report and to ask for calls of ``costs`` tokens."""
    return [
        process,
        -1 if limits.requests is None else limits.requests,
        -1 if limits.tokens is None else limits.tokens,
        report.requests,
        report.tokens,
        report.surplus,
        report.calls,
        report.seconds,
        report.used,
        report.completion,
        -1 if report.pause is None else report.pause,
        int(report.is_low),
        HORIZON,
        model,
        *costs,
    ]


def read(answer: Sequence[Any]) -> Granted:
    """Return what the script's ``answer`` says."""
    more, pause, processes, requests, tokens, completion, *starts = map(number_in, answer)
    return Granted(
        starts=[start for start in starts if start is not None],
        more_in=more,
        pause=min(pause or 0, MOST_PAUSE),
        processes=int(min(max(processes or 1, 1), LARGEST_CAP)),
        requests=requests or 0,
        tokens=tokens or 0,
        completion=completion,
    )
