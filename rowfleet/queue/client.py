"""The Redis client of a fleet's queue: fills it, looks at it, keeps its notes."""

from __future__ import annotations

import base64
import json
import logging
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rowfleet.errors import ServiceError
from rowfleet.queue.dead_letters import bury
from rowfleet.queue.keys import (
    CAP,
    DEAD_LETTERS_COUNT,
    FEEDER,
    FURTHEST_SCORE,
    LANE_FIELDS,
    LANES,
    SOCKET_TIMEOUT,
    broker_url,
    documents,
    number_in,
    urgent,
)
from rowfleet.queue.message import EMBED, EXTRACT, MESSAGE, TASK_NAME, is_note, row_of, row_of_note
from rowfleet.settings import Settings

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

#: Messages sent to Redis at once: large enough that round trips vanish, small enough (about 1 MB)
#: that other clients do not wait for long.
PUSH_CHUNK = 1_000

#: Most messages that go between others at once: one command, some ten milliseconds of Redis' time.
INSERT_MOST = 10_000


class Queue:
    """The row queue of one fleet, for those who fill it and look at it."""

    def __init__(self, settings: Settings, task: str = TASK_NAME) -> None:
        """Prepare a connection; the first use makes it. ``task`` is what its messages ask for."""
        url = broker_url(settings)
        self._settings = settings
        self._task = task
        self.name = settings.queue
        self._prefix = settings.key_prefix
        self._redis: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=SOCKET_TIMEOUT,
            health_check_interval=SOCKET_TIMEOUT,
            retry=Retry(NoBackoff(), 1),
        )
        self._insert = self._redis.register_script(_INSERT)

    def _key(self, suffix: str = "") -> str:
        return f"{self._prefix}{self.name}{suffix}"

    def _list(self, is_urgent: bool) -> str:
        return f"{self._prefix}{urgent(self.name) if is_urgent else self.name}"

    def of_documents(self) -> Queue:
        """Return the queue of the documents that rows of this queue name."""
        settings = self._settings.model_copy(update={"queue": documents(self.name)})
        return Queue(settings, EXTRACT)

    def check(self) -> None:
        """Ask the broker for a sign of life. Raises ServiceError if there is none."""
        with self._reported():
            self._redis.ping()

    def push(self, batch_id: str, numbers: Sequence[int], *, is_urgent: bool = False) -> None:
        """Append a message for each row, in order. Raises ServiceError if Redis doesn't take it."""
        with self._reported():
            for start in range(0, len(numbers), PUSH_CHUNK):
                part = numbers[start : start + PUSH_CHUNK]
                messages = (self._message(batch_id, n, is_urgent) for n in part)
                self._redis.lpush(self._list(is_urgent), *messages)

    def push_all(self, keys: Sequence[tuple[str, int]]) -> None:
        """Append a message for each key, in order. Raises ServiceError if Redis doesn't take it."""
        with self._reported():
            for start in range(0, len(keys), PUSH_CHUNK):
                messages = (self._message(*key, False) for key in keys[start : start + PUSH_CHUNK])
                self._redis.lpush(self._list(False), *messages)

    def insert(
        self, batch_id: str, numbers: Sequence[int], *, among: int, is_urgent: bool = False
    ) -> None:
        """Put a message for each row before the waiting ones: one, then ``among`` of theirs.

        At most INSERT_MOST rows. Raises ServiceError if Redis doesn't take it.
        """
        messages = [self._message(batch_id, n, is_urgent) for n in numbers]
        with self._reported():
            self._insert(keys=[self._list(is_urgent)], args=[among, *messages])

    def take_back(self, count: int, *, is_urgent: bool = False) -> list[tuple[str, int]]:
        """Take the ``count`` messages away that would be delivered last. Return their rows."""
        with self._reported():
            taken: Any = self._redis.lpop(self._list(is_urgent), count) or ()
        return self._rows_of(taken)

    def _message(self, batch_id: str, number: int, is_urgent: bool) -> str:
        task_id = f"{batch_id}.{number}"
        args = (batch_id, number)
        message = MESSAGE
        body = json.dumps([args, {}, EMBED]).encode()
        name = urgent(self.name) if is_urgent else self.name
        return json.dumps(
            {
                **message,
                "body": base64.b64encode(body).decode(),
                "headers": {
                    **message["headers"],
                    "task": self._task,
                    "id": task_id,
                    "root_id": task_id,
                    "argsrepr": repr(args),
                },
                "properties": {
                    **message["properties"],
                    "correlation_id": task_id,
                    "delivery_tag": str(uuid.uuid4()),
                    "delivery_info": {"exchange": name, "routing_key": name},
                },
            }
        )

    def depth(self) -> tuple[int, int]:
        """Return how many messages wait, and how many are delivered but not acknowledged."""
        with self._reported():
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.llen(self._list(False)).llen(self._list(True))
            waiting, first, unacked = pipe.hlen(self._key(".unacked")).execute()
        return int(waiting) + int(first), int(unacked)

    def waiting(self, *, is_urgent: bool = False) -> int:
        """Return how many messages wait in one of the two lists."""
        with self._reported():
            return int(self._redis.llen(self._list(is_urgent)))

    def present(self) -> set[tuple[str, int]]:
        """Return the rows that have a message, waiting or delivered."""
        with self._reported():
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.lrange(self._list(False), 0, -1).lrange(self._list(True), 0, -1)
            waiting, first, unacked = pipe.hvals(self._key(".unacked")).execute()
        keys = [row_of(text, self._task) for text in (*waiting, *first)]
        keys += [row_of_note(note, self._task) for note in unacked]
        return {key for key in keys if key is not None}

    def mend_notes(self) -> int:
        """Move unreadable notes of delivered messages to the dead letters.

        The autoscaler counts each note as a row that runs: one that nothing removes keeps a pod.
        One that is in no index, or there at a time to come, would never be delivered again: it gets
        its place there. Messages
        that wait are left to the workers, which read them first. Return how many were moved.
        """
        unacked, index = self._key(".unacked"), self._key(".unacked_index")
        with self._reported():
            notes = cast("dict[bytes, bytes]", self._redis.hgetall(unacked))
            if not notes:
                return 0
            dead = {tag: note for tag, note in notes.items() if not is_note(note)}
            for tag, note in dead.items():
                bury(self._redis, self._key(), note, "it is no message that was delivered", tag=tag)
            scores: Any = self._redis.zmscore(index, cast("Any", list(notes)))
            now = time.time()
            for tag, score in zip(notes, scores, strict=True):
                if tag in dead:
                    continue
                if score is None:
                    self._redis.zadd(index, {tag: now}, nx=True)
                elif score > now + FURTHEST_SCORE:
                    self._redis.zadd(index, {tag: now}, xx=True)
        return len(dead)

    def dead_letters(self) -> int:
        """Return how many messages have gone to the dead letters so far."""
        with self._reported():
            count = cast("bytes | None", self._redis.get(self._key(DEAD_LETTERS_COUNT)))
        return int(number_in(count) or 0)

    def _rows_of(self, texts: Iterable[bytes]) -> list[tuple[str, int]]:
        """Return the rows of messages that were taken off a list; bury those that name none."""
        rows = []
        for text in texts:
            key = row_of(text, self._task)
            if key is None:
                with self._reported():
                    bury(self._redis, self._key(), text, "it names no row")
            else:
                rows.append(key)
        return rows

    def wake_in(self, seconds: float | None) -> None:
        """Say when a worker is needed although no message waits; None: not before one does.

        The autoscaler can read sizes, not times: it sees `waiting`, and beside it `asleep`, which
        is gone after ``seconds``.
        """
        waiting, asleep = self._key(".waiting"), self._key(".asleep")
        with self._reported():
            pipe: Any = self._redis.pipeline(transaction=True)
            pipe.delete(waiting, asleep)
            if seconds is not None:
                pipe.rpush(waiting, 1)
                if seconds > 0:
                    pipe.rpush(asleep, 1)
                    pipe.pexpire(asleep, math.ceil(seconds * 1000))
            pipe.execute()

    def lane(self, model: str) -> dict[str, float]:
        """Return the known limits of ``model``, as `lane.lua` names it."""
        with self._reported(), suppress(redis.ResponseError):  # another type: nothing is known
            name = cast("bytes | None", self._redis.hget(self._key(LANES), model))
            if name:
                values = cast("list[bytes | None]", self._redis.hmget(name, list(LANE_FIELDS)))
                known = zip(LANE_FIELDS, map(number_in, values), strict=True)
                return {field: value for field, value in known if value is not None}
        return {}

    def set_cap(self, size: int | None, seconds: int) -> None:
        """Let the autoscaler run pods for ``size`` calls at most, for ``seconds``; None lifts that.

        The list's length is the cap: KEDA's Redis scaler reads nothing but sizes.
        """
        key = self._key(CAP)
        with self._reported():
            with suppress(redis.ResponseError):  # no list: it is written anew
                if size is not None and self._redis.llen(key) == size:
                    self._redis.expire(key, seconds)
                    return
            pipe: Any = self._redis.pipeline(transaction=True)  # never seen half made
            pipe.delete(key)
            if size is not None:
                pipe.rpush(key, *[b""] * size)
                pipe.expire(key, seconds)
            pipe.execute()

    @contextmanager
    def turn(self, name: str, holder: str, seconds: float) -> Iterator[bool]:
        """Yield whether ``holder`` has the turn at ``name``, for ``seconds`` unless it asks again.

        It spares work; nothing relies on it for correctness.
        """
        key, lasts = self._key(f".{name}"), int(seconds * 1000)
        with self._reported():
            mine = self._redis.set(key, holder, nx=True, px=lasts)
            if not mine and (self._never_ends(key, lasts) or self._is_held(key, holder)):
                mine = self._redis.set(key, holder, xx=True, px=lasts)
        yield bool(mine)

    def _never_ends(self, key: str, lasts: int) -> bool:
        """Tell whether a turn ends later than any holder's, and end it after ``lasts`` ms.

        A dead holder's turn can be restored without its end, or with a later one.
        """
        return bool(self._redis.pexpire(key, lasts, lt=True))

    def _is_held(self, key: str, holder: str) -> bool:
        try:
            return bool(self._redis.get(key) == holder.encode())
        except redis.ResponseError:  # of another type; it ends soon
            return False

    def is_tended(self) -> bool:
        """Tell whether a worker or a waiting submitter has fed this queue within seconds."""
        with self._reported():
            return bool(self._redis.exists(self._key(f".{FEEDER}")))

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            if "WRONGTYPE" in str(error):
                raise ServiceError(
                    f"the broker {self._where()} holds another program's data under a key of "
                    f"Rowfleet's queue {self.name}: {error}"
                ) from None
            raise ServiceError(f"the broker {self._where()} can't be reached: {error}") from None

    def _where(self) -> str:
        at = self._redis.connection_pool.connection_kwargs
        return str(at.get("path") or f"{at.get('host', 'localhost')}:{at.get('port', 6379)}")


#: KEYS: a list that is read from its right. ARGV: a number, messages. Puts them at the right, the
#: first one outermost, and after each as many of the present ones.
_INSERT = """
local among = tonumber(ARGV[1])
local others = redis.call('RPOP', KEYS[1], among * (#ARGV - 1)) or {}
for message = #ARGV, 2, -1 do
    local first = (message - 2) * among + 1
    for at = math.min(first + among - 1, #others), first, -1 do
        redis.call('RPUSH', KEYS[1], others[at])
    end
    redis.call('RPUSH', KEYS[1], ARGV[message])
end
"""
