"""A broker that restarts, and one that is wiped."""

from __future__ import annotations

import pytest
import redis

from tests.chaos.conftest import Make
from tests.chaos.fleet import Fleet
from tests.chaos.servers import Broker
from tests.chaos.verdict import conclude

#: What makes a broker refuse to work, and what mends it. Who is connected is sent away, as by a
#: fail-over or a new password.
REFUSALS: dict[str, tuple[list[list[str]], list[list[str]]]] = {
    "full": ([["CONFIG", "SET", "maxmemory", "1"]], [["CONFIG", "SET", "maxmemory", "0"]]),
    "replica": ([["REPLICAOF", "127.0.0.1", "1"]], [["REPLICAOF", "NO", "ONE"]]),
    "replica without a master": (
        [["CONFIG", "SET", "replica-serve-stale-data", "no"], ["REPLICAOF", "127.0.0.1", "1"]],
        [["REPLICAOF", "NO", "ONE"]],
    ),
    "password": (
        [["CONFIG", "SET", "requirepass", "new"], ["CLIENT", "KILL", "SKIPME", "yes"]],
        [["CONFIG", "SET", "requirepass", ""]],
    ),
}


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


@pytest.mark.chaos
@pytest.mark.parametrize("how", REFUSALS)
def test_the_broker_refuses(make: Make, broker: Broker, postgres_url: str, how: str) -> None:
    """It is full, a replica, with or without a master, or wants a password: all wait for it."""
    harm, remedy = REFUSALS[how]
    fleet = make(redis_url=broker.url, database_url=postgres_url)
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(150)
    fleet.at_some_moment(0.05, 0.4)
    admin = redis.Redis.from_url(broker.url)
    with fleet.harm():
        for command in harm:
            admin.execute_command(*command)
        fleet.pause(1, 8)
        for command in remedy:
            admin.execute_command(*command)
    conclude(fleet)
    for worker in fleet.workers:  # what is waited for is said once, not once a second
        assert fleet.log_of(worker).count("the broker refuses to work") <= 1
        assert fleet.log_of(worker).count("can't write against a read only replica..") == 0


@pytest.mark.chaos
def test_the_submitters_password_is_rotated_in_mid_batch(
    make: Make, broker: Broker, postgres_url: str
) -> None:
    """The workers' is not. They feed and finish; the submitter sees the end in the ledger."""
    admin = redis.Redis.from_url(broker.url)
    for user in ("workers", "submitter"):
        admin.execute_command("ACL", "SETUSER", user, "on", ">first", "~*", "&*", "+@all")
    workers_url = broker.url.replace("://", "://workers:first@")
    fleet = make(redis_url=workers_url, database_url=postgres_url)
    fleet.start_worker()
    fleet.start_worker()
    fleet.environment["REDIS_URL"] = broker.url.replace("://", "://submitter:first@")
    sheet = fleet.submitted(150)
    fleet.environment["REDIS_URL"] = workers_url
    fleet.at_some_moment(0.05, 0.4)
    with fleet.harm():
        admin.execute_command("ACL", "SETUSER", "submitter", "resetpass", ">second")
        admin.execute_command("CLIENT", "KILL", "USER", "submitter")
        fleet.pause(0, 2)
    conclude(fleet)
    (submitter,) = sheet.submitters
    assert submitter.returncode == 0
    assert fleet.said("submit.log").count("can't be reached") == 1


@pytest.mark.chaos
def test_the_broker_is_loading(make: Make, broker: Broker, postgres_url: str) -> None:
    """It has come back, and answers -LOADING to everything until its file is read."""
    fleet = make(redis_url=broker.url, database_url=postgres_url)
    broker.fill()
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(150)
    fleet.at_some_moment(0.05, 0.4)
    with fleet.harm():
        broker.shut_down()
        with broker.loading():
            fleet.start_worker()  # as in a rolling update at that moment
            fleet.pause(4, 10)
    conclude(fleet)
    *earlier, late = fleet.workers
    assert fleet.log_of(late).count("loading the dataset in memory; waiting") == 1
    for worker in (*earlier, late):  # what is waited for is said once, not once a second
        assert fleet.log_of(worker).count("can't be reached") <= 3  # consumer, feeder, beforehand
