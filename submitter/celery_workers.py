"""The workers, as Celery sees them."""

from __future__ import annotations

from dataclasses import dataclass

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from rowfleet.errors import ServiceError
from rowfleet.queue.app import celery_app
from rowfleet.queue.keys import DEAD_LETTERS
from rowfleet.queue.message import TASK_NAME
from rowfleet.settings import Settings

#: Seconds to wait for workers to answer.
ANSWER_TIMEOUT = 2.0

#: Celery's name for a pool's implementation → the name people choose it by.
_POOLS = {"thread": "threads", "prefork": "prefork", "gevent": "gevent", "solo": "solo"}


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process."""

    name: str
    pool: str
    slots: int
    running: int
    #: Rows it has taken since it started.
    processed: int


def list_workers(settings: Settings) -> list[Worker]:
    """Ask all workers of the queue's broker. Raises ServiceError if it can't be reached."""
    app = celery_app(settings)
    app.conf.broker_connection_retry = False
    try:
        inspect = app.control.inspect(timeout=ANSWER_TIMEOUT)
        stats = inspect.stats() or {}
        active = inspect.active() or {}
    except (OperationalError, RedisError, OSError) as error:
        raise ServiceError(f"the broker can't be reached: {error}") from None
    return [
        Worker(
            name=name,
            pool=_pool(said["pool"]["implementation"]),
            slots=said["pool"]["max-concurrency"],
            running=len(active.get(name, ())),
            processed=said["total"].get(TASK_NAME, 0),
        )
        for name, said in sorted(stats.items())
    ]


def dead_letters(queue: str, count: int) -> str:
    """Return the sentence that says how many messages named no row."""
    return (
        f"{count:,} messages that name no row came on the queue {queue} so far; the list "
        f"{queue}{DEAD_LETTERS} holds the last of them"
    )


def _pool(implementation: str) -> str:
    module = (
        implementation.split(":", maxsplit=1)[0].removeprefix("celery.concurrency.").split(".")[0]
    )
    return _POOLS.get(module, module)
