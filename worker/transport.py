"""Kombu's Redis transport with fewer round trips and less work for each message.

Kombu makes a new client for each command, takes messages one by one, notes each in a transaction
of its own, and acknowledges each in another. Here

- all commands of a channel but the blocking fetch share one client. It is safe to share: each
  command has a connection of the pool;
- one script notes the message that was fetched, takes as many more as there are free slots and
  notes them, and drops those that were acknowledged meanwhile. A message that it takes is never in
  neither place, as one can be between a fetch and its note;
- acknowledgements that no fetch takes along go together, some milliseconds later. They are asked
  for after the ledger's commit, as ever. One that is lost costs no call: the message is delivered
  again and finds its row ended.

The content of Redis stays the same: workers of either kind, `celery`, Flower and the autoscaler see
the same list, hash and index.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any, ClassVar

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps, loads

from rowfleet.queue.dead_letters import bury
from rowfleet.queue.keys import urgent
from rowfleet.queue.message import LARGEST_MESSAGE, LARGEST_NOTE
from rowfleet.received import MAX_DEPTH

#: Most acknowledgements in one command: some milliseconds of Redis' time.
ACKS_AT_ONCE = 500

#: KEYS: hash and index of delivered messages, lists to take from, in order. ARGV: the time by which
#: the index scores; how many messages to take at most; tag and note of a message that was fetched;
#: tags of acknowledged ones. Returns the number of the list, the text and the tag of each message
#: taken. The notes are written as kombu writes them.
_TAKE = """
local unacked, index, now, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
redis.call('ZADD', index, now, ARGV[3])
redis.call('HSET', unacked, ARGV[3], ARGV[4])
for at = 5, #ARGV do
    redis.call('ZREM', index, ARGV[at])
    redis.call('HDEL', unacked, ARGV[at])
end
local taken = {}
for list = 3, #KEYS do
    if most <= 0 then break end
    local messages = redis.call('RPOP', KEYS[list], most) or {}
    for at = 1, #messages do
        local readable, message = pcall(cjson.decode, messages[at])
        local tag, to = nil, nil
        if readable and type(message) == 'table' and type(message.properties) == 'table'
            and type(message.headers) == 'table' and type(message.body) == 'string' then
            tag, to = message.properties.delivery_tag, message.properties.delivery_info
        end
        if type(tag) ~= 'string' or type(to) ~= 'table'
            or type(to.exchange) ~= 'string' or type(to.routing_key) ~= 'string' then
            for back = #messages, at, -1 do
                redis.call('RPUSH', KEYS[list], messages[back])
            end
            return taken
        end
        redis.call('ZADD', index, now, tag)
        redis.call('HSET', unacked, tag, '[' .. messages[at] .. ',' ..
            cjson.encode(to.exchange) .. ',' .. cjson.encode(to.routing_key) .. ']')
        taken[#taken + 1] = list - 3
        taken[#taken + 1] = messages[at]
        taken[#taken + 1] = tag
        most = most - 1
    end
end
return taken
"""


class QoS(kombu_redis.QoS):
    """Notes delivered and acknowledged messages, several at once."""

    channel: Channel

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was fetched; take more where there is room for them."""
        if delivery_tag not in self.channel.noted:
            delivered = len(self._delivered) - len(self._dirty)
            room = 0 if self.channel._closing else self.prefetch_count - delivered - 1
            self.channel.take(room, message, delivery_tag)
        self.channel.noted.discard(delivery_tag)
        super(kombu_redis.QoS, self).append(message, delivery_tag)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a delivered message back on its list; one that can't be goes to the dead letters.

        Kombu tries to put it back at each look, and at each end of a process, and fails there.
        """
        with self.channel.conn_or_acquire(client) as connected:
            note = connected.hget(self.unacked_key, tag)
        if note is not None and not self.channel.can_restore(note):
            self.channel.bury(note, "a delivered message can't be put back", tag=tag)
            return
        super().restore_by_tag(tag, client=client, leftmost=leftmost)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message: with others, soon, where a step sends them."""
        if not Channel.gathers:
            super().ack(delivery_tag)
            return
        Channel.acked.append(delivery_tag)
        self._quick_ack(delivery_tag)


class Channel(kombu_redis.Channel):
    """Keeps a client of its pool, and the messages taken but not yet delivered."""

    QoS = QoS

    #: Whether a step calls `send_acks` now and then, and once more at the end. Then
    #: acknowledgements wait for that, or for the next message.
    gathers: ClassVar[bool] = False

    #: Tags acknowledged on any channel of this process, whose messages are still in Redis.
    acked: ClassVar[deque[str]] = deque()

    _in_poll: Any
    _shared: Any = None
    _script: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.noted: set[str] = set()
        self._taken: deque[tuple[str, bytes, bytes]] = deque()
        super().__init__(*args, **kwargs)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield ``client``, or the one that all share."""
        yield client or self._client_of_pool()

    def _client_of_pool(self) -> Any:
        client = self._shared
        if client is None or client.connection_pool is not self.pool:  # after a lost connection
            client = self._shared = self._create_client()
            plain = redis.Redis(connection_pool=self.pool)  # which puts no prefix before keys
            self._script = plain.register_script(_TAKE)
        return client

    def take(self, most: int, message: Any, tag: str) -> None:
        """Note ``message``, take up to ``most`` more, and drop acknowledged ones."""
        self._client_of_pool()
        to = message.delivery_info
        note = dumps([message._raw, to["exchange"], to["routing_key"]])
        queues = self._queue_cycle.consume(len(self.active_queues)) if most > 0 else []
        keys = (self.unacked_key, self.unacked_index_key, *queues)
        prefixed = [self.global_keyprefix + key for key in keys]
        with _acks() as tags:
            taken = self._script(prefixed, [time.time(), most, tag, note, *tags])
        for at in range(0, len(taken), 3):
            self._taken.append((queues[taken[at]], taken[at + 1], taken[at + 2]))

    def bury(self, text: bytes, why: str, *, tag: Any = None) -> None:
        """Move a message that can't be read to the dead letters of its queue."""
        queue = f"{self.global_keyprefix}{self.unacked_key.removesuffix('.unacked')}"
        bury(redis.Redis(connection_pool=self.pool), queue, text, why, tag=tag)

    def can_restore(self, note: bytes) -> bool:
        """Tell whether a delivered message, as it is noted, can be put back on its list."""
        queue = self.unacked_key.removesuffix(".unacked")
        if len(note) > LARGEST_NOTE:
            return False
        try:
            message, exchange, routing_key = loads(note.decode())
            to_ours = exchange == routing_key and routing_key in (queue, urgent(queue))
        except Exception:  # kombu's reader has hooks of its own
            return False
        return to_ours and self._is_message(message, note)

    def _is_message(self, message: Any, text: bytes) -> bool:
        """Tell whether kombu can make a message of it, and note it. It ends where it can't."""
        try:
            properties = message["properties"]
            to = properties["delivery_info"]
            if (
                text.count(b"{") + text.count(b"[") > MAX_DEPTH
                or message["headers"].get("compression")
                or not isinstance(message["body"], str)
            ):
                return False
            texts = (properties["delivery_tag"], to["exchange"], to["routing_key"])
            made = self.Message(message, channel=self)
        except Exception:
            return False
        return not made.errors and all(isinstance(part, str) for part in texts)

    def send_acks(self) -> None:
        """Drop the acknowledged messages from Redis."""
        while Channel.acked:
            with _acks() as tags, self.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()

    def _brpop_read(self, **options: Any) -> Any:
        """Read the answer of the blocking fetch as kombu does; bury text that is no message."""
        try:
            try:
                answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # so that the next fetch connects again
                raise
            if not answer:
                raise Empty
            name, text = answer
            queue = name.decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self._deliver(text, queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
            while self._taken:  # they are noted: each must be delivered
                queue, text, tag = self._taken.popleft()
                self._deliver(text, queue, tag)

    def _deliver(self, text: bytes, queue: str, noted: bytes | None = None) -> None:
        """Deliver a message, or bury text that is none. ``noted`` is its tag if it has one."""
        message: Any = None
        with suppress(Exception):  # kombu's reader has hooks of its own
            if len(text) <= LARGEST_MESSAGE:
                message = loads(text.decode())
        if not self._is_message(message, text):
            self.bury(text, "it is no message", tag=noted)
            return
        if noted is not None:
            self.noted.add(message["properties"]["delivery_tag"])
        self.connection._deliver(message, queue)


@contextmanager
def _acks() -> Iterator[list[str]]:
    """Yield acknowledged tags; they stay to be sent if that fails."""
    tags: list[str] = []
    with suppress(IndexError):
        while len(tags) < ACKS_AT_ONCE:
            tags.append(Channel.acked.popleft())
    try:
        yield tags
    except BaseException:
        Channel.acked.extendleft(reversed(tags))
        raise


class Transport(kombu_redis.Transport):
    """The transport of `redis://` and its kin."""

    Channel = Channel


def install() -> None:
    """Let this process's connections to Redis go that way."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
