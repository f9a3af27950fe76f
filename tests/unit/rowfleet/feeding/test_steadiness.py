"""When a feeder may take a silent worker for gone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, event

from rowfleet.feeding import steadiness
from rowfleet.feeding.steadiness import PATIENCE, TRY_INTERVAL, Steadiness
from rowfleet.ledger.ledger_errors import LedgerError
from tests.support.refusals import only_reads

REDELIVERY = 75.0


class Clock:
    """A clock that a test sets. An uptime of a second is the worst: all differences are small."""

    def __init__(self) -> None:
        self.now = 1.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(steadiness, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_ledger_is_steady_once_it_has_taken_writes_for_a_while(
    engine: Engine, clock: Clock
) -> None:
    known = Steadiness(engine, REDELIVERY)
    writes: list[object] = []
    event.listen(engine, "commit", writes.append)

    def check(after: float) -> bool:
        clock.now += after
        return known.check()

    assert not check(0)
    assert not check(PATIENCE - 0.5)
    assert check(0.5)
    assert len(writes) == 3
    assert [check(TRY_INTERVAL / 4) for _ in range(3)] == [True] * 3
    assert len(writes) == 3
    assert check(TRY_INTERVAL / 4)
    assert len(writes) == 4
    assert check(REDELIVERY)  # a gap in which no lease can have run out for long enough
    assert not check(REDELIVERY + 0.5)
    assert not check(PATIENCE - 0.5)
    assert check(0.5)
    with only_reads(engine), pytest.raises(LedgerError):
        check(TRY_INTERVAL)
    assert not check(0)
    assert not check(PATIENCE - 0.5)
    assert check(0.5)
