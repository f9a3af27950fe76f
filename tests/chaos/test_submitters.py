"""Submitters that are killed, and several that submit at once."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Make
from tests.chaos.fleet import Fleet
from tests.chaos.servers import Broker, Database
from tests.chaos.verdict import conclude


def recorded(fleet: Fleet) -> int:
    return sum(fleet.statuses().values())


@pytest.mark.chaos
def test_the_submitter_is_killed_while_feeding_twice(fleet: Fleet) -> None:
    """It records 1,000 rows in a transaction and feeds them: it dies somewhere in that."""
    fleet.standin.configure(latency=0.0)
    fleet.environment["ROWFLEET_SLOTS"] = "40"
    sheet = fleet.sheet(6_000)
    fleet.start_worker()
    for _ in range(2):
        before = recorded(fleet)
        submitter = fleet.submit(sheet)
        fleet.until(lambda before=before: recorded(fleet) > before, 60)
        fleet.pause(0, 0.15)
        assert fleet.batch_status(sheet) == "loading", "it had recorded everything"
        with fleet.harm():
            submitter.kill()
            submitter.wait()
    sheet.submitters.clear()
    fleet.submit(sheet)
    conclude(fleet, seconds=150)


def test_two_submit_the_same_sheet_at_once(fleet: Fleet) -> None:
    fleet.standin.configure(latency=[0.05, 0.2])
    fleet.start_worker()
    sheet = fleet.sheet(60)
    with fleet.harm():
        fleet.submit(sheet)
        second = fleet.submit(sheet, out=sheet.out.with_name("second.xlsx"))
    conclude(fleet)
    assert [process.wait(30) for process in sheet.submitters] == [0, 0]
    assert second.returncode == 0
    assert sheet.out.with_name("second.xlsx").exists()


@pytest.mark.chaos
def test_five_sheets_at_once_and_one_is_cancelled(fleet: Fleet) -> None:
    fleet.standin.configure(keep_bodies=True)
    fleet.start_worker()
    fleet.start_worker()
    prefixes = ["AA", "BB", "CC", "DD", "EE"]
    unlucky = fleet.rng.choice(prefixes)
    # That one is long: it must not have ended before it is cancelled.
    sheets = [fleet.submitted(300 if p == unlucky else 60, p) for p in prefixes]
    cancelled = sheets[prefixes.index(unlucky)]
    fleet.until(lambda: fleet.batch_status(cancelled) == "running", 60)
    fleet.at_some_moment(0.05, 0.2)
    with fleet.harm():
        assert fleet.run("cancel", cancelled.batch_id) == 0
        calls = fleet.calls()
    conclude(fleet, may_be_cancelled=cancelled)
    assert fleet.statuses()["cancelled"] > 0
    # Rows that ran when it was cancelled finish; none starts.
    later = {key for key in fleet.calls() if key not in calls and key[0] == cancelled.batch_id}
    assert not later
    assert [sheet.submitters[0].wait(30) for sheet in sheets] == [
        1 if sheet is cancelled else 0 for sheet in sheets
    ]


@pytest.mark.chaos
def test_services_restart_while_rows_are_recorded(
    make: Make, broker: Broker, database: Database
) -> None:
    fleet = make(redis_url=broker.url, database_url=database.new("ledger"), ROWFLEET_SLOTS="40")
    fleet.standin.configure(latency=0.0)
    sheet = fleet.sheet(4_000)
    submitter = fleet.submit(sheet)
    fleet.start_worker()
    fleet.until(lambda: recorded(fleet) > 0, 60)
    with fleet.harm(2):
        broker.shut_down()
        database.stop_immediately()
        fleet.pause(0.5, 2)
        database.start()
        broker.start()
    conclude(fleet)
    assert submitter.wait(30) == 0
