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
    fleet = make(redis_url=redis_url, database_url=database.new("ledger"))
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(120)
    fleet.at_some_moment()
    with fleet.harm():
        database.stop_immediately()
        fleet.pause(0.5, 5)
        database.start()
    conclude(fleet)
