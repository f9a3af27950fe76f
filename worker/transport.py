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

What is in Redis stays the same: workers of either kind, `celery`, Flower and the autoscaler see the
same list, hash and index.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps, loads

#: Most acknowledgements in one command: some milliseconds of Redis' time.
ACKS_AT_ONCE = 500

#: KEYS: hash and index of delivered messages, lists to take from, in order. ARGV: the time by which
#: the index scores; how many messages to take at most; tag and note of a message that was fetched;
#: tags of acknowledged ones. Returns the number of the list and the text of each message taken. The
#: notes are written as kombu writes them.
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
        if readable and type(message) == 'table' and type(message.properties) == 'table' then
            tag, to = message.properties.delivery_tag, message.properties.delivery_info
        end
        if type(tag) ~= 'string' or type(to) ~= 'table' then
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
        most = most - 1
    end
end
return taken
"""


class QoS(kombu_redis.QoS):
    """Notes what is delivered and acknowledged, several at once."""

    channel: Channel

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was fetched; take more where there is room for them."""
        if delivery_tag not in self.channel.noted:
            room = 0 if self.channel._closing else self._free() - 1
            self.channel.take(room, message, delivery_tag)
        self.channel.noted.discard(delivery_tag)
        super(kombu_redis.QoS, self).append(message, delivery_tag)

    def _free(self) -> int:
        return max(0, self.prefetch_count - (len(self._delivered) - len(self._dirty)))

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message: with others, soon, where somebody sends them."""
        if not Channel.gathers:
            super().ack(delivery_tag)
            return
        Channel.acked.append(delivery_tag)
        self._quick_ack(delivery_tag)


class Channel(kombu_redis.Channel):
    """Keeps a client of its pool, and what was taken but not yet delivered."""

    QoS = QoS

    #: Whether somebody calls `send_acks` now and then, and once more at the end. Then
    #: acknowledgements wait for that, or for the next message.
    gathers: ClassVar[bool] = False

    #: Tags acknowledged on any channel of this process, whose messages are still in Redis.
    acked: ClassVar[deque[str]] = deque()

    _shared: Any = None
    _script: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.noted: set[str] = set()
        self._taken: deque[tuple[str, bytes]] = deque()
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
        """Note ``message``, take up to ``most`` more, and drop what was acknowledged."""
        self._client_of_pool()
        to = message.delivery_info
        note = dumps([message._raw, to["exchange"], to["routing_key"]])
        queues = self._queue_cycle.consume(len(self.active_queues)) if most > 0 else []
        keys = (self.unacked_key, self.unacked_index_key, *queues)
        prefixed = [self.global_keyprefix + key for key in keys]
        with _acks() as tags:
            taken = self._script(prefixed, [time.time(), most, tag, note, *tags])
        for at in range(0, len(taken), 2):
            self._taken.append((queues[taken[at]], taken[at + 1]))

    def send_acks(self) -> None:
        """Drop the acknowledged messages from Redis."""
        while Channel.acked:
            with _acks() as tags, self.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        finally:
            while self._taken:  # they are noted: each must be delivered
                queue, text = self._taken.popleft()
                message = loads(text.decode())
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
