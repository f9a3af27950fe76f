"""Workers that are killed, stopped, restarted and brought back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.verdict import conclude


@pytest.mark.chaos
def test_a_worker_is_killed(fleet: Fleet) -> None:
    victim = fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(80)
    fleet.at_some_moment()
    with fleet.harm():
        fleet.kill(victim)
    conclude(fleet)


@pytest.mark.chaos
def test_every_worker_is_killed(fleet: Fleet) -> None:
    fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(80)
    fleet.at_some_moment()
    with fleet.harm(2):
        fleet.kill(*fleet.workers)
    fleet.start_worker()  # as the autoscaler would
    conclude(fleet)


@pytest.mark.chaos
def test_ten_restarts_under_load(fleet: Fleet) -> None:
    """A rolling restart: each worker finishes its rows, so nothing at all is paid for again."""
    fleet.standin.configure(latency=[0.5, 1.5])
    fleet.environment["ROWFLEET_SLOTS"] = "4"
    old = fleet.start_worker()
    fleet.submitted(320)
    fleet.at_some_moment(0.02, 0.05)
    for _ in range(10):
        new = fleet.start_worker()
        fleet.pause(0.5, 2.5)
        with fleet.harm():
            fleet.terminate(old)
        old = new
    conclude(fleet)


@pytest.mark.chaos
def test_a_zombie_returns(fleet: Fleet) -> None:
    """Stopped for longer than the visibility timeout, it wakes while its rows are done again."""
    fleet.standin.configure(latency=[0.5, 1.5])
    zombie = fleet.start_worker()
    fleet.start_worker()
    fleet.submitted(200)
    fleet.at_some_moment(0.05, 0.3)
    with fleet.harm():
        fleet.freeze(zombie)
        fleet.pause(8, 14)
        fleet.thaw(zombie)
    conclude(fleet)


@pytest.mark.chaos
def test_a_batch_is_cancelled_while_twenty_workers_die(fleet: Fleet) -> None:
    """Rows of dead workers, of a batch that runs no more, are ended by the next worker."""
    fleet.standin.configure(latency=[2.0, 5.0], keep_bodies=True)
    fleet.environment["ROWFLEET_SLOTS"] = "2"
    cancelled = fleet.submitted(400, "AA")
    other = fleet.submitted(40, "BB")
    victims = [fleet.start_worker() for _ in range(20)]
    fleet.until(lambda: fleet.statuses()["running"] >= len(victims), 120)
    fleet.rng.shuffle(victims)
    with fleet.harm(1 + len(victims)), ThreadPoolExecutor(1) as person:
        command = person.submit(fleet.run, "cancel", cancelled.batch_id)
        while victims:
            fleet.pause(0, 0.5)
            fleet.kill(*[victims.pop() for _ in range(min(len(victims), fleet.rng.randint(1, 6)))])
        assert command.result() == 0
    fleet.start_worker()  # as the autoscaler would
    conclude(fleet, may_be_cancelled=cancelled, seconds=120)
    assert fleet.batch_status(cancelled) == "cancelled"
    assert [sheet.submitters[0].wait(30) for sheet in (cancelled, other)] == [1, 0]
