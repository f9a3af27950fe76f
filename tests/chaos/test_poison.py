"""A row that kills every worker that starts on it."""

from __future__ import annotations

import pytest

from tests.chaos.fleet import Fleet, Worker
from tests.chaos.verdict import conclude


@pytest.mark.chaos
def test_a_poison_row_ends_failed_and_takes_no_other_with_it(fleet: Fleet) -> None:
    fleet.standin.configure(latency=[0.5, 1.5])
    poison_row = fleet.rng.randrange(80)
    fleet.environment["CHAOS_POISON_ROW"] = str(poison_row)
    replicas = [start(fleet), start(fleet)]
    sheet = fleet.submitted(80)
    total = sheet.rows

    def kept_alive() -> bool:
        """Do as a Deployment does, until the batch has ended."""
        for index, worker in enumerate(replicas):
            if not worker.is_alive:
                with fleet.harm():
                    worker.may_end = True
                    fleet.excuse(worker)
                replicas[index] = start(fleet)
        return fleet.ended_rows() == total

    fleet.until(kept_alive, 150)
    poison = (sheet.batch_id, poison_row)
    conclude(fleet, failed={poison: "its worker vanished 3 times"})
    assert fleet.calls()[poison] == 0
    assert fleet.record.faults == 3


def start(fleet: Fleet) -> Worker:
    return fleet.start_worker(app="tests.chaos.poison_worker")
