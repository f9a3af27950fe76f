"""A broker that restarts, and one that is wiped."""

from __future__ import annotations

import pytest
import redis

from tests.chaos.conftest import Make
from tests.chaos.fleet import Fleet
from tests.chaos.servers import Broker
from tests.chaos.verdict import conclude


@pytest.mark.chaos
def test_the_broker_is_shut_down_and_restarted(
    make: Make, broker: Broker, postgres_url: str
) -> None:
    fleet = make(redis_url=broker.url, database_url=postgres_url)
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(150)
    fleet.at_some_moment()
    with fleet.harm():
        broker.shut_down()
        fleet.pause(0.5, 6)
        broker.start()
    conclude(fleet)


@pytest.mark.chaos
def test_the_broker_is_wiped(fleet: Fleet) -> None:
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(120)
    fleet.at_some_moment()
    with fleet.harm():
        redis.Redis.from_url(fleet.environment["REDIS_URL"]).flushall()
    conclude(fleet)
