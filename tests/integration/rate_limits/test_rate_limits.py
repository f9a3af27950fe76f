"""Real workers under an API that enforces its limits: few are refused, and no row pays for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, select

from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import progress
from rowfleet.ledger.transitions import stopping
from rowfleet.queue.keys import CAP
from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start, all_done, feed


def tries(engine: Engine) -> set[tuple[int, int]]:
    """Return the attempts and the retries that rows have had."""
    with engine.connect() as connection:
        return {
            (r.attempts, r.retries) for r in connection.execute(select(Row.attempts, Row.retries))
        }


def test_a_fleet_stays_under_the_limit_it_was_told(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(requests_per_minute=600, burst_seconds=3, latency=0.2)
    make_batch(ledger, 45, queue=fleet.queue)
    feed(ledger, fleet)
    told = fleet.model_copy(update={"requests_per_minute": 600.0})
    start(told)
    start(told)
    eventually(lambda: all_done(ledger), 60)
    assert standin.summary()["outcomes"] == {"ok": 45}
    times = [call.time for call in standin.calls()]
    assert times[-1] - times[0] >= 45 / 10 - 3


def test_rows_that_were_refused_are_asked_again_and_have_lost_no_try(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(requests_per_minute=600, burst_seconds=0.3, latency=0.2)
    make_batch(ledger, 45, queue=fleet.queue)
    feed(ledger, fleet)
    unaware = fleet.model_copy(update={"max_retries": 0})
    start(unaware)
    start(unaware)
    eventually(lambda: all_done(ledger), 90)
    outcomes = standin.summary()["outcomes"]
    assert outcomes["ok"] == 45
    # Sixteen slots start at once, before the API has named its limit; then the pause holds all.
    assert 0 < outcomes["over_limit"] <= 30
    assert {retries for _, retries in tries(ledger)} == {0}


def test_waiting_burns_no_time_and_loses_no_row(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    # The last rows wait for longer than they may run, and than a lease lasts.
    limits = {"requests_per_minute": 40.0, "soft_time_limit": 5.0, "time_limit": 6.0}
    slow = fleet.model_copy(update={**limits, "max_retries": 0})
    make_batch(ledger, 9, queue=fleet.queue)
    feed(ledger, slow)
    worker = start(slow)
    start(slow)
    eventually(lambda: all_done(ledger), 60)
    assert worker.poll() is None
    assert tries(ledger) == {(1, 0)}
    assert set(standin.summary()["rows"].values()) == {1}
    log = (tmp_path / "worker.log").read_text()
    assert "time limit" not in log
    assert "taken over" not in log
    with ledger.connect() as connection:
        latencies = list(connection.execute(select(Row.latency)).scalars())
    assert max(latencies) < 6  # what a call took, not what it waited for


@pytest.mark.parametrize("pool", ["threads", "prefork", "gevent", "solo"])
def test_rows_that_wait_go_back_at_once_when_their_worker_is_to_end(
    pool: str,
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    slots = 1 if pool == "solo" else 3
    crawling = fleet.model_copy(update={"requests_per_minute": 1.0, "slots": slots})
    make_batch(ledger, 10, queue=fleet.queue)
    worker = start(crawling, "--pool", pool)
    # One row a minute: the others that were claimed wait.
    eventually(
        lambda: statuses(ledger).count("running") == slots and "done" in statuses(ledger), 60
    )
    worker.terminate()
    assert worker.wait(20) == 0
    found = statuses(ledger)
    assert "running" not in found
    assert found.count("done") == standin.summary()["calls"] <= 2
    begun = {(1, 0), (0, 0)}
    assert tries(ledger) == begun
    with ledger.connect() as connection:
        assert progress.progress_of(connection, "b").failed == 0


def test_the_fleet_s_cap_is_written_while_it_works(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    redis_url: str,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=1)
    told = fleet.model_copy(update={"requests_per_minute": 120.0})
    make_batch(ledger, 40, queue=fleet.queue)
    start(told)
    store = redis.Redis.from_url(redis_url)
    key = f"{fleet.queue}{CAP}"
    eventually(lambda: store.llen(key) == 22)  # 2 a second for an assumed 10 s, and a tenth
    eventually(lambda: store.llen(key) == 3, 60)  # two calls of 1 s, and a little


def test_rows_of_a_cancelled_batch_stop_waiting(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    crawling = fleet.model_copy(update={"requests_per_minute": 2.0})
    make_batch(ledger, 6, queue=fleet.queue)
    start(crawling)
    eventually(lambda: statuses(ledger).count("done") == 1)
    with ledger.begin() as connection:
        assert stopping.cancel(connection, "b", by="test")
    eventually(lambda: set(statuses(ledger)) == {"done", "cancelled"}, 20)
    assert standin.summary()["calls"] <= 2
