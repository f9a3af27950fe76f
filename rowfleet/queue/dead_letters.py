"""Messages that name no row go to a list of their own."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

import redis

from rowfleet.queue.keys import (
    DEAD_LETTER_EXCERPT,
    DEAD_LETTERS,
    DEAD_LETTERS_COUNT,
    DEAD_LETTERS_KEPT,
)

log = logging.getLogger(__name__)


def bury(client: redis.Redis, queue: str, text: bytes, why: str, *, tag: Any = None) -> None:
    """Keep a message that names no row among the dead letters of ``queue``, a key of Redis.

    ``tag`` is where it is noted as delivered; the note goes. The log says nothing that the message
    says: it may hold cells. Raises redis.RedisError.
    """
    digest = hashlib.sha256(text).hexdigest()
    letter = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "why": why,
        "bytes": len(text),
        "sha256": digest,
        "message": text[:DEAD_LETTER_EXCERPT].decode("utf-8", "backslashreplace"),
    }
    pipe: Any = client.pipeline(transaction=True)
    if tag is not None:
        pipe.hdel(f"{queue}.unacked", tag).zrem(f"{queue}.unacked_index", tag)
    pipe.lpush(f"{queue}{DEAD_LETTERS}", json.dumps(letter))
    pipe.ltrim(f"{queue}{DEAD_LETTERS}", 0, DEAD_LETTERS_KEPT - 1)
    pipe.incr(f"{queue}{DEAD_LETTERS_COUNT}")
    for answer in pipe.execute(raise_on_error=False):
        # A list or a count that holds something else must end no worker; a replica's or a full
        # broker's refusal comes for all commands together, and is raised.
        if isinstance(answer, redis.RedisError):
            log.warning("the dead letters, %s%s, can't be kept: %s", queue, DEAD_LETTERS, answer)
    log.warning(
        "a message of %d bytes went to the dead letters, %s%s: %s (sha256 %s)",
        len(text),
        queue,
        DEAD_LETTERS,
        why,
        digest[:16],
    )
