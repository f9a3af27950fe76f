"""Two versions at once, as in a rolling update: the next one has migrated the ledger."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from rowfleet.ledger.models import Row
from rowfleet.ledger.schema import SCHEMA
from tests.chaos.conftest import Make
from tests.chaos.fleet import Fleet, Worker
from tests.chaos.servers import Database
from tests.chaos.verdict import conclude

#: The next version, whose import would make this process one of it, and its schema.
NEXT_VERSION, NEXT = "tests.chaos.next_version", "next"


def rows_of(fleet: Fleet, worker: Worker) -> int:
    """Return how many rows the worker was the last to hold."""
    with fleet.engine.connect() as connection:
        return connection.execute(
            select(func.count()).where(Row.worker == worker.name, Row.status == "done")
        ).scalar_one()


@pytest.mark.chaos
def test_a_worker_from_the_previous_schema_version(
    make: Make, redis_url: str, database: Database
) -> None:
    """It goes on when the ledger is migrated, also after the ledger was away; none starts then."""
    fleet = make(redis_url=redis_url, database_url=database.new("ledger"))
    running = fleet.start_worker()
    fleet.submitted(300)
    fleet.at_some_moment(0.05, 0.15)

    early = fleet.start_worker(app=f"{NEXT_VERSION}.worker")
    waits = f"the ledger has the schema {SCHEMA}, this worker works with {NEXT}; waiting"
    fleet.until(lambda: waits in fleet.log_of(early), 30)
    fleet.pause(0.5, 1.5)
    assert " ready." not in fleet.log_of(early)

    with fleet.harm(2):
        assert fleet.run("migrate", program=NEXT_VERSION) == 0
        before = rows_of(fleet, running)
        database.stop_immediately()
        fleet.pause(0.5, 3)
        database.start()
    late = fleet.start_worker()
    late.may_end = True
    fleet.until(lambda: rows_of(fleet, running) > before, 30)
    fleet.until(lambda: rows_of(fleet, early) > 0, 30)
    fleet.until(lambda: not late.is_alive, 60)
    assert late.process.returncode == 3
    said = f"the ledger has the schema {NEXT} of a newer Rowfleet"
    assert fleet.log_of(late).count(said) == 1
    assert "Traceback" not in fleet.log_of(late)
    assert rows_of(fleet, late) == 0

    fleet.terminate(running)  # as a rolling update ends it
    conclude(fleet)
    assert fleet.log_of(early).count(waits) == 1
