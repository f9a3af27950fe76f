"""Celery's consumer, patient with a broker that answers and refuses, or is away.

A broker that is full, or has become a replica, takes connections and no writes. Celery then starts
its consumer again several times a second, and says so each time. While it can't connect, or the
broker still loads its data, it says so at each try, and tries at last every half minute.

It does without Celery's gossip and mingle: every worker hears every other's every event there, and
nothing here asks for what they know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker import consumer, state
from kombu.utils.json import dumps

from rowfleet.errors import ServiceError
from rowfleet.queue.client import Queue
from rowfleet.queue.message import row_of
from worker.steps.heartbeat import VisibilityHeartbeat
from worker.steps.outbox import Outbox

log = logging.getLogger(__name__)

#: Seconds between tries.
PAUSE = 1.0

#: Seconds between tries to connect: at first, more each time, and at most. A worker that starts
#: before its broker has its first row soon after the broker is there.
RETRY = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 1}

_WITHOUT = {"without_gossip": True, "without_mingle": True}

#: What kombu raises where a channel is used, or closed, whose connection was half closed before.
#: Celery ends the worker for that.
_CLOSED = (AttributeError,)


class _AckLog:
    """Where Celery says that a message was not acknowledged: a traceback for each, in its own."""

    @staticmethod
    def critical(_text: str, tag: str, error: BaseException, **_: Any) -> None:
        log.info("message %s not acknowledged: %r; it will find its row ended", tag, error)


class Consumer(consumer.Consumer):
    """Waits until the broker takes writes before it starts again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["worker_options"] = {**(kwargs.get("worker_options") or {}), **_WITHOUT}
        super().__init__(*args, **kwargs)

    def call_soon_ack(self, p: Any, _logger: Any, errors: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject a message that may have come over a connection since lost."""
        return super().call_soon_ack(p, _AckLog, (*errors, *_CLOSED), *args, **kwargs)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the rest of the connection. Celery connects again then."""
        try:
            super().on_connection_error_after_connected(exc)
        except _CLOSED as error:
            log.debug("the lost connection could not be closed in order: %r", error)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait; say once what for. Celery calls this for a broker that it has a connection to."""
        log.warning("the broker refuses to work: %s; waiting, no row is lost", exc)
        queue = Queue(self.app.rowfleet_settings)
        while True:
            time.sleep(PAUSE)
            state.maybe_shutdown()
            VisibilityHeartbeat.lives()  # the loop is not stuck; a restart would end good rows
            try:
                with queue.turn("probe", self.hostname, PAUSE):
                    break
            except ServiceError:
                continue
        log.warning("the broker works again")

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; wait for a broker that is away or still loads its data, and say so once."""
        said = False

        def say(error: Exception, _interval: float) -> None:
            nonlocal said
            if not said:
                where = conn.as_uri()  # which hides the password
                log.warning("the broker %s can't be reached: %s; waiting", where, error)
            said = True

        connected = conn.ensure_connection(say, callback=state.maybe_shutdown, **RETRY)
        self.first_connection_attempt = False
        if said:
            log.warning("the broker answers again")
        return connected


class GatheringConsumer(Consumer):
    """Buries messages that name no row; sends acknowledgements and events several at once.

    It stands on `worker.transport`.
    """

    #: The step sets it.
    outbox: Outbox

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return the function that takes each message.

        A message that names no row goes to the dead letters.

        Celery drops some such messages, with all that they hold in its log; at others it ends.
        """
        handle = super().create_task_handler(*args, **kwargs)

        def taken(message: Any) -> None:
            text = dumps(message._raw).encode()
            if row_of(text, self.app.rowfleet_task) is None:
                message.channel.bury(text, "it names no row", tag=message.delivery_tag)
                message.ack_log_error(log, self.connection_errors)
            else:
                handle(message)

        return taken

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Bury a message whose body can't be unpacked; Celery would log what it holds."""
        text = dumps(message._raw).encode()
        why = f"it can't be unpacked ({type(exc).__name__})"
        message.channel.bury(text, why, tag=message.delivery_tag)
        message.ack_log_error(log, self.connection_errors)

    def on_send_event_buffered(self) -> None:
        """Send events a few times a second."""
        self.outbox.events_soon()

    def call_soon_ack(self, p: Any, _logger: Any, errors: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge a message with others, in a moment."""
        if self.hub and p.__name__ == "ack_log_error":
            p(_AckLog, (*errors, *_CLOSED))  # which only puts it among those that are to be sent
            self.outbox.acks_soon()
            return p
        return super().call_soon_ack(p, _logger, errors, *args, **kwargs)
