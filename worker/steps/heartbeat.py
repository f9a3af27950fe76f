"""The visibility heartbeat: what this worker holds stays its own for as long as it lives.

Celery on Redis delivers a message again when it was not acknowledged within the visibility
timeout. Rows may run for ten minutes and a killed worker's rows should start elsewhere within one
or two: so the timeout is short, and the consumer says every few seconds that it still holds what
it holds. The beat runs in the consumer's own loop: if that is wedged, it stops, and its rows go
to others; and so it does while the worker is cut off from the ledger. Once a shutdown has stopped
the loop, a thread goes on for the rows that still run.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, ClassVar

from celery import bootsteps
from celery.worker import state

log = logging.getLogger(__name__)

#: Beats within one visibility timeout: several may fail before a message is delivered again.
BEATS = 6

#: Seconds between beats at most; the worker's health is judged by them, too.
LONGEST_INTERVAL = 10.0


def unacknowledged(channel: Any) -> set[Any]:
    """Return the tags of the messages that came over ``channel`` and are not acknowledged."""
    qos = channel.qos
    return {tag for tag in list(qos._delivered) if tag not in qos._dirty}


def reserved(_channel: Any) -> set[Any]:
    """Return the tags of the messages whose rows wait for a slot of this worker or run in one."""
    return {request.message.delivery_tag for request in list(state.reserved_requests)}


class VisibilityHeartbeat(bootsteps.StartStopStep):
    """Renews the visibility of every message that this consumer has not acknowledged."""

    requires: Any = ("celery.worker.consumer.tasks:Tasks",)

    #: Tells whether this worker can do something with what it holds.
    is_able: ClassVar[Any] = staticmethod(lambda: True)

    #: Gives the tags of the messages that came over a channel and are not acknowledged.
    delivered: ClassVar[Any] = staticmethod(unacknowledged)

    #: When the consumer last beat, by time.monotonic(): tells whether its loop lives.
    last_beat: ClassVar[float] = -math.inf

    def __init__(self, consumer: Any, **_: Any) -> None:
        self._timer: Any = None
        options = consumer.app.conf.broker_transport_options
        self.interval = min(LONGEST_INTERVAL, options["visibility_timeout"] / BEATS)

    def start(self, consumer: Any) -> None:
        """Begin to beat, with the consumer's connection."""
        self._timer = consumer.timer.call_repeatedly(self.interval, self.beat, (consumer,))
        self.lives()

    def stop(self, consumer: Any) -> None:
        """Stop beating in the loop: the connection is going away, or the worker shuts down."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        shuts_down: Any = state.should_stop
        if shuts_down is not None and consumer.task_consumer:
            channel = consumer.task_consumer.channel
            threading.Thread(
                target=self._beat_to_the_end, args=(channel,), name="heartbeat", daemon=True
            ).start()

    terminate = stop

    def beat(self, consumer: Any) -> None:
        """Renew the visibility of all messages held, in one command."""
        if self.is_able():
            renew(consumer.task_consumer.channel)
        self.lives()

    def _beat_to_the_end(self, channel: Any) -> None:
        """Renew until the process ends. The rows that run keep their messages, and so are counted
        by the autoscaler."""
        failed = False
        while True:
            try:
                if self.is_able():
                    renew(channel)
                failed = False
            except channel.connection_errors as error:
                if not failed:
                    log.warning("the broker can't be told which rows still run: %s", error)
                failed = True
            time.sleep(self.interval)

    @classmethod
    def lives(cls) -> None:
        """Note that the consumer's loop is not stuck."""
        cls.last_beat = time.monotonic()


def renew(channel: Any) -> int:
    """Say on ``channel`` that its unacknowledged messages are still held. Return how many.

    Only those still in the index are renewed (XX): one that was acknowledged or went to another
    worker meanwhile does not come back.
    """
    held = VisibilityHeartbeat.delivered(channel)
    # Those of an earlier connection, whose rows still run.
    held.update(request.message.delivery_tag for request in list(state.active_requests))
    if held:
        now = time.time()  # what kombu itself scores by
        with channel.conn_or_acquire() as client:
            client.zadd(channel.qos.unacked_index_key, dict.fromkeys(held, now), xx=True)
    return len(held)
