"""20,000 rows, and a random fault every few seconds until they are done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import redis
from sqlalchemy.engine import make_url

from tests.chaos.conftest import Make
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.proxy import TcpProxy
from tests.chaos.servers import Broker, Database, socket_of
from tests.chaos.test_network import port_of, proxied
from tests.chaos.verdict import conclude

ROWS = int(os.environ.get("CHAOS_SOAK_ROWS", "20000"))

#: Seconds in which the batch must end, on a busy machine, too; and those of them with faults.
BOUND, HARMED = 900, 200
#: Workers at a time.
REPLICAS = 2


class _Soak:
    """The faults. Each leaves everything healed and the workers counted as before."""

    def __init__(self, fleet: Fleet, broker: Broker, database: Database) -> None:
        self._fleet = fleet
        self._broker = broker
        self._database = database
        self.networks: list[TcpProxy] = []
        self.replicas: list[Worker] = []
        self.log: list[str] = []

    def start_worker(self) -> Worker:
        """Start a worker whose ways to broker, ledger and model can be cut."""
        environment = self._fleet.environment
        url = make_url(environment["DATABASE_URL"])
        to_broker, to_ledger, to_model = self.networks
        return self._fleet.start_worker(
            REDIS_URL=f"redis://127.0.0.1:{to_broker.port}/0",
            DATABASE_URL=url.set(host="127.0.0.1", port=to_ledger.port, query={}).render_as_string(
                hide_password=False
            ),
            OPENAI_BASE_URL=f"http://127.0.0.1:{to_model.port}/v1",
        )

    def inject(self) -> None:
        """Do one harm."""
        faults: list[Callable[[], None]] = [
            self.kill_one,
            self.kill_one,
            self.restart_one,
            self.freeze_one,
            self.restart_broker,
            self.wipe_broker,
            self.restart_database,
            self.cut,
            self.cut,
            self.stall,
        ]
        fault = self._fleet.rng.choice(faults)
        self.log.append(fault.__name__)
        with self._fleet.harm():
            fault()

    def _any(self) -> int:
        return self._fleet.rng.randrange(len(self.replicas))

    def kill_one(self) -> None:
        index = self._any()
        self._fleet.kill(self.replicas[index])
        self.replicas[index] = self.start_worker()

    def restart_one(self) -> None:
        index = self._any()
        self._fleet.terminate(self.replicas[index])
        self.replicas[index] = self.start_worker()

    def freeze_one(self) -> None:
        worker = self.replicas[self._any()]
        self._fleet.freeze(worker)
        self._fleet.pause(2, 12)
        self._fleet.thaw(worker)

    def restart_broker(self) -> None:
        self._broker.shut_down()
        self._fleet.pause(0.2, 4)
        self._broker.start()

    def wipe_broker(self) -> None:
        redis.Redis.from_url(self._broker.url).flushall()

    def restart_database(self) -> None:
        self._database.stop_immediately()
        self._fleet.pause(0.2, 4)
        self._database.start()

    def cut(self) -> None:
        self._away(TcpProxy.cut)

    def stall(self) -> None:
        self._away(TcpProxy.stall)

    def _away(self, harm: Callable[[TcpProxy], None]) -> None:
        network = self._fleet.rng.choice(self.networks)
        harm(network)
        if network is self.networks[1]:
            self._fleet.excuse(*self.replicas)
        self._fleet.pause(0.5, 6)
        network.heal()


@pytest.mark.chaos
@pytest.mark.timeout(1000)
def test_soak(make: Make, broker: Broker, database: Database) -> None:
    fleet = make(
        redis_url=broker.url,
        database_url=database.new("ledger"),
        ROWFLEET_SLOTS="60",
        ROWFLEET_MAX_RETRIES="50",
        ROWFLEET_SOFT_TIME_LIMIT="20",
    )
    fleet.standin.configure(latency=[0.3, 1.2])
    soak = _Soak(fleet, broker, database)
    with (
        proxied(port_of(broker.url)) as to_broker,
        proxied(socket_of(fleet.environment["DATABASE_URL"])) as to_ledger,
        proxied(("127.0.0.1", fleet.standin.port)) as to_model,
    ):
        soak.networks = [to_broker, to_ledger, to_model]
        soak.replicas = [soak.start_worker() for _ in range(REPLICAS)]
        sheet = fleet.submitted(ROWS)
        started = time.monotonic()
        fleet.until(lambda: fleet.ended_rows() > 0, 60)
        while (
            fleet.ended_rows(wait=True) < 0.9 * sheet.rows and time.monotonic() - started < HARMED
        ):
            soak.inject()
            fleet.pause(1, 5)
        print("faults:", ", ".join(soak.log))
        fleet.finish(started + BOUND - time.monotonic())
        # By design a row fails whose worker vanished three times; these did.
        unlucky = {
            key: "its worker vanished 3 times"
            for key in fleet.failed_rows()
            if fleet.excused[key] >= 3
        }
        conclude(fleet, failed=unlucky)
