"""The queue contract: Celery's app, its wire format, and the Redis keys they live in.

A message holds a batch id and a row number, nothing else: what is in a row never passes Redis.
Kombu keeps waiting messages in the list named like the queue, those of urgent batches in
`QUEUE.urgent`, and delivered ones that are not yet acknowledged in the hash `QUEUE.unacked`:
together they are what the autoscaler counts. Where no message waits but the ledger has rows for
later (a retry's delay), the list `QUEUE.waiting` says so, and `QUEUE.asleep` is there until then.
A message that names no row goes to the list `QUEUE.dead_letters`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import ssl
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from rowfleet.errors import InputError, ServiceError
from rowfleet.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

#: The one task there is: analyze a row.
TASK_NAME = "rowfleet.analyze"

#: Messages sent to Redis at once: large enough that round trips vanish, small enough (about 1 MB)
#: that nobody else waits for long.
PUSH_CHUNK = 1_000

#: Most messages that go between others at once: one command, some ten milliseconds of Redis' time.
INSERT_MOST = 10_000

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

#: Bytes of a row's message, at most; it has 1,100. And of its note once it is delivered.
LARGEST_MESSAGE, LARGEST_NOTE = 16 << 10, 32 << 10

#: What the autoscaler's cap reads of a lane, as `limits.lua` names it.
LANE_FIELDS = ("f", "gr", "lr", "gt", "lt", "seconds", "tokens")

#: The largest number that is taken from Redis: of a minute's tokens no API has so many.
LARGEST_NUMBER = 1e15


#: Seconds that the clocks of two workers are apart, at most, when a message is delivered.
FURTHEST_SCORE = 3600

#: Characters of a message's id: a batch's id, a dot and a number, or a UUID.
LONGEST_TASK_ID = 255

#: Seconds to wait for Redis to answer a connect or a command.
SOCKET_TIMEOUT = 10

#: Seconds that a row may wait in a slot for its turn at the API; then it goes back to the ledger.
LONGEST_WAIT = 300

#: Seconds between looks for messages whose worker fell silent.
RESTORE_INTERVAL = 5
#: Seconds after which another worker may look, if the one that did died while looking.
RESTORE_MUTEX_EXPIRE = 30


def celery_app(settings: Settings) -> Celery:
    """Return the Celery app that both programs share; the worker adds its task to it.

    Raises InputError if no broker is named.
    """
    # A thirtieth of a second to import, which a submitter can do without.
    from celery import Celery
    from kombu.entity import Exchange
    from kombu.entity import Queue as KombuQueue

    url = _url(settings)
    if url.startswith("unix://"):
        # kombu's names for the scheme and for the database index
        url = url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    queue = settings.queue
    app = Celery("rowfleet", broker=url, set_as_current=False)
    if url.startswith("rediss://"):
        # kombu's default is to trust any certificate. Where the URL has options of TLS, kombu reads
        # only those, and Flower's page of queues only these, so these have them, too.
        given = {name: value for name, value in parse_url(url).items() if name.startswith("ssl_")}
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, **given}
    app.conf.update(
        task_default_queue=queue,
        task_queues=[
            KombuQueue(name, Exchange(name, type="direct"), routing_key=name)
            for name in (urgent(queue), queue)
        ],
        task_default_exchange=queue,
        task_default_routing_key=queue,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        # The row's fate is in the ledger; Celery's limits end a prefork child that is stuck.
        # They know nothing of waiting for a turn, which is not to use a row's time up.
        task_time_limit=settings.time_limit + LONGEST_WAIT,
        task_soft_time_limit=settings.soft_time_limit + LONGEST_WAIT,
        worker_concurrency=settings.concurrency(),
        worker_pool=settings.pool,
        worker_max_tasks_per_child=100,
        worker_hijack_root_logger=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that is full, or a replica since a fail-over, answers with an error: Celery's
        # default is to end the worker for that.
        broker_channel_error_retry=True,
        broker_connection_timeout=SOCKET_TIMEOUT,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout,
            "unacked_key": f"{queue}.unacked",
            "unacked_index_key": f"{queue}.unacked_index",
            "unacked_mutex_key": f"{queue}.unacked_mutex",
            "unacked_mutex_expire": RESTORE_MUTEX_EXPIRE,
            "unacked_restore_interval": RESTORE_INTERVAL,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",  # the urgent list first
            "global_keyprefix": settings.key_prefix,
            "socket_connect_timeout": SOCKET_TIMEOUT,
            "socket_keepalive": True,
            "health_check_interval": SOCKET_TIMEOUT,
        },
    )
    return app


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


def _url(settings: Settings) -> str:
    url = settings.broker_url()
    if url is None:
        raise InputError("REDIS_URL is not set; write REDIS_URL=redis://HOST:6379/0")
    return url


class Queue:
    """The row queue of one fleet, for those who fill it and look at it."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a connection; the first use makes it."""
        url = _url(settings)
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
        message = _MESSAGE
        body = json.dumps([args, {}, _EMBED]).encode()
        name = urgent(self.name) if is_urgent else self.name
        return json.dumps(
            {
                **message,
                "body": base64.b64encode(body).decode(),
                "headers": {
                    **message["headers"],
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
        keys = [row_of(text) for text in (*waiting, *first)]
        keys += [row_of_note(note) for note in unacked]
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
            dead = {tag: note for tag, note in notes.items() if not _is_note(note)}
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
            key = row_of(text)
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
        """Return what is known of the limits of ``model``, as `limits.lua` names it."""
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

#: What Celery's protocol 2 carries beside args and kwargs; rows have no callbacks or chains.
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


#: A message as Celery 5 and kombu write it, to be filled in for each row. A test compares it.
_MESSAGE: dict[str, Any] = {
    "body": "",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {
        "lang": "py",
        "task": TASK_NAME,
        "id": "",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "",
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "rowfleet",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    },
    "properties": {
        "correlation_id": "",
        "reply_to": "",
        "delivery_mode": 2,
        "priority": 0,
        "body_encoding": "base64",
    },
}


#: What differs from message to message: each is short text. Kombu adds ``redelivered``.
_OWN_HEADERS = frozenset(("id", "root_id", "argsrepr", "origin", "redelivered"))
_OWN_TEXTS = frozenset(("correlation_id", "delivery_tag"))
_OWN_DELIVERY = frozenset(("exchange", "routing_key", "redelivered"))


def row_of(text: bytes) -> tuple[str, int] | None:
    """Return the row that a message on the list names; None for what is no message of a row.

    A worker can run all that this takes for a message: Celery's own readers let much through at
    which they, or the process, fail later.
    """
    try:
        return _row_of(json.loads(text)) if len(text) <= LARGEST_MESSAGE else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def row_of_note(note: bytes) -> tuple[str, int] | None:
    """Return the row of a delivered message as kombu notes it: the message, and where it goes."""
    if len(note) > LARGEST_NOTE:
        return None
    try:
        message, exchange, routing_key = json.loads(note)
        return _row_of(message) if exchange and exchange == routing_key else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _is_note(note: bytes) -> bool:
    """Tell whether a note holds a message of Celery's, be it one of another version of ours."""
    if len(note) > LARGEST_NOTE:
        return False
    try:
        message, exchange, routing_key = json.loads(note)
        texts = (message["headers"]["task"], message["properties"]["delivery_tag"])
        return (
            all(isinstance(text, str) for text in (*texts, message["body"], exchange))
            and exchange == routing_key
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def _row_of(message: dict[str, Any]) -> tuple[str, int] | None:
    headers, properties = message["headers"], message["properties"]
    to = properties["delivery_info"]
    args, kwargs, embedded = json.loads(base64.b64decode(message["body"], validate=True))
    names_itself = (
        headers["task"] == TASK_NAME
        and _is_short(headers["id"])
        and _is_short(properties["delivery_tag"])
        and _is_short(to["exchange"])
        and _is_short(to["routing_key"])
        and properties["body_encoding"] == "base64"
    )
    is_ours = (
        all(message[name] == _MESSAGE[name] for name in ("content-type", "content-encoding"))
        and _adds_nothing(headers, _MESSAGE["headers"], _OWN_HEADERS)
        and _adds_nothing(properties, {**_MESSAGE["properties"], "delivery_info": to}, _OWN_TEXTS)
        and _adds_nothing(to, {}, _OWN_DELIVERY)
        and _adds_nothing(embedded or {}, _EMBED)
        and not kwargs
    )
    return (args[0], args[1]) if names_itself and is_ours and is_key(args) else None


def _adds_nothing(
    found: dict[str, Any], written: dict[str, Any], own: frozenset[str] = frozenset()
) -> bool:
    """Tell whether all fields but each message's ``own`` are as they are written here.

    Celery reads some fifty fields that a row never has: to wait until a time, expire, repeat, send
    a reply or another task, unpack, or take the message for one that was revoked. Instead of
    knowing them all, any other field, and any other value, makes it another program's message.
    """
    return all(
        _is_short(value) or value in (None, "", True) if name in own else value == written.get(name)
        for name, value in found.items()
    )


def _is_short(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_TASK_ID and text.isprintable()


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
