"""A ledger that stops without notice, and recovers."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Make
from tests.chaos.servers import Database
from tests.chaos.verdict import conclude


@pytest.mark.chaos
def test_the_database_is_stopped_immediately_and_restarted(
    make: Make, redis_url: str, database: Database
) -> None:
    """No process dies, so no call is paid for twice: answers wait until they can be saved."""
    _stop_and_restart(make, redis_url, database, 0.5, 5)


@pytest.mark.chaos
def test_the_database_is_away_for_longer_than_all_leases(
    make: Make, redis_url: str, database: Database
) -> None:
    """Leases have run out and messages are due again, but every answer is still to come."""
    _stop_and_restart(make, redis_url, database, 12, 18)


@pytest.mark.chaos
def test_the_database_takes_no_writes_for_longer_than_all_leases(
    make: Make, redis_url: str, database: Database
) -> None:
    """Reads go on, so leases are seen to run out; answers wait until they can be saved."""
    fleet = make(redis_url=redis_url, database_url=database.new("ledger"))
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(120)
    fleet.at_some_moment()
    with fleet.harm():
        database.refuse_writes(True)
        fleet.pause(12, 18)
        before = fleet.ended_rows()
        fleet.pause(1, 1)
        assert fleet.ended_rows() == before, "rows ended while the ledger took no writes"
        database.refuse_writes(False)
    conclude(fleet)


def _stop_and_restart(
    make: Make, redis_url: str, database: Database, least: float, most: float
) -> None:
    fleet = make(redis_url=redis_url, database_url=database.new("ledger"))
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(120)
    fleet.at_some_moment()
    with fleet.harm():
        database.stop_immediately()
        fleet.pause(least, most)
        database.start()
    conclude(fleet)
