"""A network that is cut, or carries nothing for a while, between a worker and each server.

`cut` resets every connection; `stall` lets no byte through, and connections stay open.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from sqlalchemy.engine import make_url

from tests.chaos.fleet import SHORT, Fleet, Worker
from tests.chaos.proxy import TcpProxy
from tests.chaos.servers import socket_of
from tests.chaos.verdict import conclude

pytestmark = pytest.mark.chaos

#: Seconds a claim lasts at the visibility timeout of these cases.
LEASE = 0.6 * float(SHORT["ROWFLEET_VISIBILITY_TIMEOUT"])

HOW = pytest.mark.parametrize("how", ["cut", "stall"])


@contextmanager
def proxied(upstream: tuple[str, int] | str) -> Iterator[TcpProxy]:
    proxy = TcpProxy(upstream)
    try:
        yield proxy
    finally:
        with suppress(RuntimeError):
            proxy.close()


def port_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@HOW
def test_a_worker_is_cut_off_from_the_broker(fleet: Fleet, how: str) -> None:
    """Its messages are delivered to the other, who finds the rows taken; it saves its answers."""
    with proxied(port_of(fleet.environment["REDIS_URL"])) as network:
        fleet.start_worker(REDIS_URL=f"redis://127.0.0.1:{network.port}/0")
        fleet.start_worker()
        fleet.submitted(200)
        fleet.at_some_moment(0.1, 0.3)
        with fleet.harm():
            getattr(network, how)()
            fleet.pause(3, 14)
            network.heal()
        conclude(fleet)


#: Times in a row, and seconds of calls a row takes then.
AGAIN_AND_AGAIN, SOME_SECONDS = 8, [0.3, 1.2]


def test_a_worker_is_cut_off_from_the_broker_again_and_again(fleet: Fleet) -> None:
    """With rows in flight each time, it loses connections in every state that they can be in."""
    fleet.standin.configure(latency=SOME_SECONDS)
    with proxied(port_of(fleet.environment["REDIS_URL"])) as network:
        for _ in range(2):
            fleet.start_worker(REDIS_URL=f"redis://127.0.0.1:{network.port}/0", ROWFLEET_SLOTS="60")
        fleet.submitted(1500)
        fleet.at_some_moment(0.01, 0.05)
        for _ in range(AGAIN_AND_AGAIN):
            if not fleet.is_unfinished():
                break
            with fleet.harm():
                fleet.rng.choice([network.cut, network.stall])()
                fleet.pause(0.1, 3)
                network.heal()
            fleet.pause(0.5, 2)
        conclude(fleet)


def _start_two_one_behind(fleet: Fleet, network: TcpProxy) -> Worker:
    """Return a worker that reaches the ledger by ``network`` alone, beside another, at work."""
    url = make_url(fleet.environment["DATABASE_URL"])
    through = url.set(host="127.0.0.1", port=network.port, query={})
    worker = fleet.start_worker(DATABASE_URL=through.render_as_string(hide_password=False))
    fleet.start_worker()
    fleet.submitted(200)
    fleet.at_some_moment(0.1, 0.3)
    return worker


@HOW
def test_a_worker_is_cut_off_from_the_database(fleet: Fleet, how: str) -> None:
    """Within its leases that costs nothing. After them, what it holds may go to the other."""
    with proxied(socket_of(fleet.environment["DATABASE_URL"])) as network:
        worker = _start_two_one_behind(fleet, network)
        seconds = fleet.rng.uniform(1, 14)
        with fleet.harm():
            getattr(network, how)()
            if seconds > LEASE:
                fleet.excuse(worker)
            time.sleep(seconds)
            network.heal()
        conclude(fleet)


@HOW
def test_a_worker_stays_cut_off_from_the_database(fleet: Fleet, how: str) -> None:
    """The other gets all that it holds, although it still reaches the broker."""
    with proxied(socket_of(fleet.environment["DATABASE_URL"])) as network:
        worker = _start_two_one_behind(fleet, network)
        with fleet.harm():
            getattr(network, how)()
            fleet.excuse(worker)
        fleet.finish()
        network.heal()
        conclude(fleet)


@HOW
def test_a_worker_is_cut_off_from_the_model(fleet: Fleet, how: str) -> None:
    """A broken call is a retry, and the ledger counts those."""
    fleet.environment["ROWFLEET_MAX_RETRIES"] = "50"
    fleet.environment["ROWFLEET_SOFT_TIME_LIMIT"] = "3"
    with proxied(("127.0.0.1", fleet.standin.port)) as network:
        fleet.start_worker(OPENAI_BASE_URL=f"http://127.0.0.1:{network.port}/v1")
        fleet.start_worker()
        fleet.submitted(150)
        fleet.at_some_moment(0.1, 0.3)
        with fleet.harm():
            getattr(network, how)()
            fleet.pause(2, 6)
            network.heal()
        conclude(fleet)
