"""A model that never answers."""

from __future__ import annotations

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.verdict import conclude


@pytest.mark.chaos
def test_the_model_hangs_for_ever(fleet: Fleet) -> None:
    """Some calls hang once, some rows' always: those fail with that reason, all else is done."""
    rows = 60
    always = fleet.rng.sample(range(rows), 3)
    fleet.environment["ROWFLEET_SOFT_TIME_LIMIT"] = "2"
    fleet.environment["ROWFLEET_MAX_RETRIES"] = "1"
    fleet.standin.configure(
        latency=[0.05, 0.3],
        seed=fleet.rng.randrange(1_000_000),
        faults=[
            {"kind": "hang", "rows": always},
            {"kind": "hang", "fraction": 0.1, "attempts": 1},
        ],
    )
    fleet.start_worker()
    sheet = fleet.sheet(rows)
    with fleet.harm(0):
        fleet.submit(sheet)
    conclude(
        fleet, failed={(sheet.batch_id, n): "no answer within 2 s (tried 2 times)" for n in always}
    )
    fleet.record.faults = fleet.standin.summary()["outcomes"]["hang"]
