"""Made-up histories, tried on a ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from rowfleet.ledger.engine import open_ledger
from rowfleet.settings import Settings
from tests.support.histories.world import LOCK_TIMEOUT, World

#: Histories for each database. Unset: few, and the same ones each time.
EXAMPLES = int(os.environ.get("STATES_EXAMPLES", "0"))


def try_histories(machine: type[World], engine: Engine, settings: Settings) -> None:
    """Try histories of the ``machine`` on the ledger and the settings' broker."""
    with _impatient(engine) as ledger, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rowfleet.feeding.repair.SECOND_LOOK", 0.0)
        patch.setattr(machine, "engine", ledger, raising=False)
        patch.setattr(machine, "settings", settings, raising=False)
        run_state_machine_as_test(
            machine,
            settings=profile(
                max_examples=EXAMPLES or 20,
                stateful_step_count=30,
                derandomize=not EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )


@contextmanager
def _impatient(engine: Engine) -> Iterator[Engine]:
    """Yield the ledger, as one that does not wait long for the transactions of others."""
    if engine.dialect.name != "postgresql":
        yield engine
        return
    url = engine.url.update_query_dict({"options": f"-c lock_timeout={LOCK_TIMEOUT}"})
    other = open_ledger(url.render_as_string(hide_password=False), connections=6)
    yield other
    other.dispose()
