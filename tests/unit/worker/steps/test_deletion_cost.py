"""The deletion cost, as a number."""

from __future__ import annotations

import pytest

from worker.steps.deletion_cost import STEP_COST, STEPS, cost


@pytest.mark.parametrize(
    ("running", "slots", "wanted"),
    [
        (0, 100, 0),
        (1, 100, 100),
        (25, 100, 100),
        (26, 100, 200),
        (75, 100, 300),
        (76, 100, 400),
        (100, 100, 400),
        (101, 100, 400),  # a row that ends is counted for a moment after the next has begun
        (0, 1, 0),
        (1, 1, 400),
        (2, 3, 300),
        (1, 10_000, 100),
    ],
)
def test_cost_goes_up_in_steps(running: int, slots: int, wanted: int) -> None:
    assert cost(running, slots) == wanted


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 100])
def test_an_idle_pod_goes_before_a_busy_one_and_a_full_one_last(slots: int) -> None:
    costs = [cost(running, slots) for running in range(slots + 1)]
    assert costs == sorted(costs)
    assert costs[0] == 0 < costs[1]
    assert costs[-1] == STEPS * STEP_COST
    assert len(set(costs)) <= STEPS + 1
