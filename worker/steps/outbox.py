"""What a worker tells its broker of tasks that ended: acknowledgements and events, several at once.

They gather in memory for a moment. The consumer's loop sends them; once a shutdown has stopped the
loop, a thread does for the rows that still run, and the rest goes before the connection closes.
After a lost connection they go over the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps
from celery.worker import state

from worker.transport import Channel

log = logging.getLogger(__name__)

#: Seconds for which acknowledgements gather, if no message is fetched that takes them along.
ACKS_APART = 0.02

#: Seconds for which events gather. Celery sends them in each round of its loop, which is for nearly
#: each task; one message of many costs a fifth of that.
EVENTS_APART = 0.25

#: Most events in a message, about 150 kB. Celery's default is 24.
EVENTS_AT_ONCE = 500

#: Seconds until the broker is tried again, and most that a shutdown waits for the sending thread.
PAUSE, PATIENCE = 1.0, 10.0


class Outbox(bootsteps.StartStopStep):
    """Sends the gathered ones. Without a loop (gevent) none gathers."""

    requires: Any = (
        "celery.worker.consumer.events:Events",
        "celery.worker.consumer.tasks:Tasks",
    )

    def __init__(self, consumer: Any, **_: Any) -> None:
        consumer.outbox = self
        self._consumer = consumer
        self._dispatcher: Any = None
        self._acks_asked = self._events_asked = -PAUSE
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        Channel.gathers = consumer.hub is not None

    def start(self, consumer: Any) -> None:
        """Take over what an earlier connection could not send."""
        before, now = self._dispatcher, consumer.event_dispatcher
        self._dispatcher = now
        if now is not None and consumer.hub:
            now.buffer_limit = EVENTS_AT_ONCE
            for group, events in dict(before._group_buffer if before else {}).items():
                now._group_buffer[group].extend(events)
            self.events_soon()
            self.acks_soon()

    def stop(self, consumer: Any) -> None:
        """The loop ends: if for good, send from a thread while rows still run."""
        shuts_down: Any = state.should_stop
        if shuts_down is not None and consumer.hub and self._thread is None:
            self._thread = threading.Thread(
                target=self._send_to_the_end, name="outbox", daemon=True
            )
            self._thread.start()

    terminate = stop

    def shutdown(self, _consumer: Any) -> None:
        """Send the rest. All rows have ended, and the connection is still there."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._send_acks()
        self._send_events()

    def acks_soon(self) -> None:
        """Let the loop take the next message, and send acknowledgements in a moment."""
        self._consumer.hub.call_soon(self._ask_for_acks)

    def events_soon(self) -> None:
        """Let the loop send events in a moment."""
        if time.monotonic() >= self._events_asked + EVENTS_APART:
            self._consumer.hub.call_soon(self._ask_for_events)

    # The loop's timer is its own: what follows runs in the loop.

    def _ask_for_acks(self) -> None:
        now = time.monotonic()
        if now >= self._acks_asked + ACKS_APART:
            self._acks_asked = now
            self._consumer.hub.call_later(ACKS_APART, self._send_acks)

    def _ask_for_events(self) -> None:
        now = time.monotonic()
        if now >= self._events_asked + EVENTS_APART:
            self._events_asked = now
            self._consumer.hub.call_later(EVENTS_APART, self._send_events)

    def _send_to_the_end(self) -> None:
        while not self._over.wait(EVENTS_APART):
            self._send_acks()
            self._send_events()

    def _send_events(self) -> None:
        if self._consumer.event_dispatcher:
            self._consumer.event_dispatcher.flush()  # it keeps events that can't be sent

    def _send_acks(self) -> None:
        consumer = self._consumer
        if not Channel.acked or not consumer.task_consumer:
            return
        try:
            consumer.task_consumer.channel.send_acks()
        except (*consumer.connection_errors, *consumer.channel_errors, AttributeError) as error:
            # AttributeError: kombu's, of a connection that was half closed.
            log.info("acknowledgements not sent: %r; trying again", error)
            if not self._over.is_set() and self._thread is None:
                consumer.hub.call_later(PAUSE, self._send_acks)
