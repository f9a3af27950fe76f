"""Feeders, and the state of the queue that they feed."""

from __future__ import annotations

import redis
from sqlalchemy import Engine, update

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Row
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings


def feeder(engine: Engine, queue: Queue, window: int = 1000) -> Feeder:
    return Feeder(engine, queue, window=window, redelivery=75)


def age(engine: Engine, seconds: float = 3600) -> None:
    """Let all queued rows have been queued for a while."""
    with engine.begin() as connection:
        connection.execute(
            update(Row).where(Row.status == "queued").values(queued_at=in_seconds(-seconds))
        )


def client(settings: Settings) -> redis.Redis:
    assert settings.redis_url
    return redis.Redis.from_url(settings.redis_url.get_secret_value())
