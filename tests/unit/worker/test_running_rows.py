"""Which rows a process runs, and which hold their slots for good."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rowfleet.ledger.records import MAX_LOSSES, Claimed, Outcome
from worker.assignment import Assignment
from worker.running_rows import RunningRows


def assignment(number: int, losses: int = 0) -> Assignment:
    batch: Any = SimpleNamespace(record=SimpleNamespace(sheet_row=lambda number: number + 1))
    return Assignment(Claimed(("b", number), (), None, 1, 0, losses), batch, [])


def lost(*numbers: int) -> list[Outcome]:
    return [Outcome(("b", number), 1, "failed") for number in numbers]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def running(told: list[str]) -> RunningRows:
    """Three rows, the last of them at its last try."""
    running = RunningRows(60.0, lambda: told.append("stuck"))
    for number in range(3):
        running.add(assignment(number, losses=MAX_LOSSES - 1 if number == 2 else 0))
    return running


def test_the_worker_learns_once_that_a_slot_is_stuck(running: RunningRows, told: list[str]) -> None:
    running.lose_slots([])
    running.lose_slots(lost(7))  # its result came before
    assert (told, running.has_stuck()) == ([], False)
    running.lose_slots(lost(0))
    assert (told, running.has_stuck()) == (["stuck"], True)
    running.lose_slots(lost(0, 1))
    assert (told, running.has_stuck()) == (["stuck"], True)
    assert running.keys() == [("b", 2)]
    running.forget(("b", 0))
    assert running.has_stuck()
    running.forget(("b", 1))
    assert not running.has_stuck()


@pytest.mark.parametrize("ends", ["lose_slots", "forget"])
def test_the_last_try_ends_with_its_row_and_no_other(running: RunningRows, ends: str) -> None:
    def end(number: int) -> None:
        running.forget(("b", number)) if ends == "forget" else running.lose_slots(lost(number))

    end(0)
    running.add(assignment(3))
    assert running.has_last_try()
    assert (len(running), ("b", 0) in running, ("b", 2) in running) == (3, False, True)
    end(2)
    assert not running.has_last_try()


def test_slots_may_be_lost_where_the_worker_wants_to_hear_of_none() -> None:
    running = RunningRows(60.0)
    running.add(assignment(0))
    running.lose_slots(lost(0))
    assert running.has_stuck()
