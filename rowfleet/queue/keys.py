"""The Redis keys of a fleet, and the bounds of their content."""

from __future__ import annotations

import math

from rowfleet.errors import InputError
from rowfleet.settings import Settings

#: Seconds that the clocks of two workers are apart, at most, when a message is delivered.
FURTHEST_SCORE = 3600

#: Characters of a message's id: a batch's id, a dot and a number, or a UUID.
LONGEST_TASK_ID = 255

#: Behind the queue's name: the list whose length caps the fleet, and the hash of its models' lanes.
CAP, LANES = ".cap", ".lanes"

#: Characters of a batch's id, and the largest number of a row, in the ledger's columns.
LONGEST_BATCH_ID, LARGEST_ROW = 64, (1 << 31) - 1

#: Name of the turn to feed the queue.
FEEDER = "feeder"

#: Behind the queue's name: the list of messages that name no row, newest first, and how many there
#: were altogether.
DEAD_LETTERS, DEAD_LETTERS_COUNT = ".dead_letters", ".dead_letters_count"

#: Most dead letters that are kept, and characters of each: 4 MB of Redis at most.
DEAD_LETTERS_KEPT, DEAD_LETTER_EXCERPT = 1_000, 4_096

#: What the autoscaler's cap reads of a lane, as `lane.lua` names it.
LANE_FIELDS = ("f", "gr", "lr", "gt", "lt", "seconds", "tokens")

#: The largest number that is taken from Redis: of a minute's tokens no API has so many.
LARGEST_NUMBER = 1e15

#: Seconds to wait for Redis to answer a connect or a command.
SOCKET_TIMEOUT = 10


def is_key(key: object) -> bool:
    """Tell whether ``key`` can be a row's: a batch's id and a number, as the ledger holds them."""
    if not isinstance(key, (tuple, list)) or len(key) != 2:
        return False
    batch_id, number = key
    return (
        isinstance(batch_id, str)
        and 0 < len(batch_id) <= LONGEST_BATCH_ID
        and batch_id.isprintable()
        and isinstance(number, int)
        and not isinstance(number, bool)
        and 0 <= number <= LARGEST_ROW
    )


def number_in(value: bytes | str | None) -> float | None:
    """Return a number that Redis holds, from 0 to LARGEST_NUMBER; None for anything else."""
    try:
        number = float(value) if value is not None and len(value) <= LONGEST_TASK_ID else math.nan
    except ValueError:
        return None
    return number if 0 <= number <= LARGEST_NUMBER else None


def urgent(queue: str) -> str:
    """Return the name of the list whose rows go before those of ``queue``."""
    return f"{queue}.urgent"


def documents(queue: str) -> str:
    """Return the name of the queue of documents that rows of ``queue`` name."""
    return f"{queue}.documents"


def broker_url(settings: Settings) -> str:
    """Return the broker's URL. Raises InputError if none is named."""
    url = settings.broker_url()
    if url is None:
        raise InputError("REDIS_URL is not set; write REDIS_URL=redis://HOST:6379/0")
    return url


#: Most elements of the list that the autoscaler reads the size of: more calls than any fleet has.
LARGEST_CAP = 20_000
