"""A real Celery worker: redelivery, heartbeat, shutdown, and a ledger that goes away."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.queries import rows
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.schema import migrate
from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support import apiserver
from tests.support.apiserver import worker_pod
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start, all_done, feed, is_old


def test_a_long_row_is_not_delivered_twice(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=15)  # well over twice the visibility timeout
    make_batch(ledger, 8, queue=fleet.queue)
    queue = feed(ledger, fleet)
    start(fleet)
    start(fleet)  # a second worker, who would get what is delivered again
    eventually(lambda: all_done(ledger), 60)
    assert set(standin.summary()["rows"].values()) == {1}
    eventually(lambda: queue.depth() == (0, 0))


def test_a_killed_workers_rows_start_elsewhere(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=3)
    make_batch(ledger, 8, queue=fleet.queue)
    queue = feed(ledger, fleet)
    victim = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 8)
    victim.kill()
    start(fleet)
    eventually(lambda: all_done(ledger), 60)
    assert standin.summary()["calls"] == 16  # those in flight were paid again, nothing else
    eventually(lambda: queue.depth() == (0, 0))


def test_sigterm_finishes_the_rows_that_run_and_gives_back_the_rest(
    fleet: Settings, ledger: Engine, standin: Standin, start: Start
) -> None:
    standin.configure(latency=2)
    make_batch(ledger, 40, queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] >= 8)
    worker.terminate()
    assert worker.wait(30) == 0
    done = statuses(ledger).count("done")
    assert standin.summary()["calls"] == done
    assert set(statuses(ledger)) == {"done", "queued"}
    assert queue.depth() == (40 - done, 0)  # nothing stays unacknowledged, nothing is lost


def test_a_row_that_began_before_a_lost_connection_does_not_end_its_worker(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    redis_url: str,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=3)
    make_batch(ledger, 24, queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 8)
    # The other connections stay whole, so kombu closes its channel in order, and with it the way
    # by which the messages of these rows would have been acknowledged.
    assert redis.Redis.from_url(redis_url).client_kill_filter(_type="pubsub")
    eventually(lambda: all_done(ledger), 60)
    eventually(lambda: queue.depth() == (0, 0))
    assert worker.poll() is None
    assert set(standin.summary()["rows"].values()) == {1}


def test_a_worker_that_shuts_down_keeps_the_messages_of_rows_that_still_run(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=15)  # well over twice the visibility timeout
    make_batch(ledger, 8, queue=fleet.queue)
    queue = feed(ledger, fleet)
    leaver = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 8)
    start(fleet)  # who would get what is delivered again
    leaver.terminate()
    seen = set()
    while leaver.poll() is None:
        if statuses(ledger).count("running") == 8:
            seen.add(queue.depth())
        time.sleep(0.1)
    assert seen == {(0, 8)}  # what the autoscaler counts
    assert leaver.returncode == 0
    assert all_done(ledger)
    assert queue.depth() == (0, 0)
    assert set(standin.summary()["rows"].values()) == {1}


def test_a_zombies_rows_go_to_others_and_its_late_results_change_nothing(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=3)
    make_batch(ledger, 8, queue=fleet.queue)
    feed(ledger, fleet)
    zombie = start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 8)
    zombie.send_signal(signal.SIGSTOP)
    start(fleet)
    eventually(lambda: all_done(ledger), 60)
    zombie.send_signal(signal.SIGCONT)
    time.sleep(3)
    with ledger.connect() as connection:
        progress = progress_of(connection, "b")
    assert (progress.done, progress.failed) == (8, 0)
    assert max(standin.summary()["rows"].values()) == 2


def test_a_retry_outlives_the_worker_that_scheduled_it(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(faults=[{"kind": "server_error", "attempts": 1}])
    make_batch(ledger, 6, queue=fleet.queue)
    queue = feed(ledger, fleet)
    first = start(fleet.model_copy(update={"retry_delay": 5.0}))
    eventually(lambda: set(statuses(ledger)) == {"pending"})
    eventually(lambda: queue.depth() == (0, 0), 4)  # its retry waits without keeping a pod busy
    first.kill()
    start(fleet)
    eventually(lambda: all_done(ledger))
    assert set(standin.summary()["rows"].values()) == {2}


def test_the_last_worker_leaves_word_of_a_retry_to_come(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    redis_url: str,
) -> None:
    standin.configure(latency=3, faults=[{"kind": "server_error", "attempts": 1}])
    make_batch(ledger, 2, queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(fleet.model_copy(update={"retry_delay": 60.0}))
    standin.wait_until(lambda summary: summary["calls"] == 2)
    worker.terminate()  # its rows end in a retry after it has stopped feeding
    assert worker.wait(30) == 0
    assert statuses(ledger) == ["pending", "pending"]
    assert queue.depth() == (0, 0)
    broker = redis.Redis.from_url(redis_url)
    assert broker.llen(f"{fleet.queue}.waiting") == 1
    assert 50_000 < broker.pttl(f"{fleet.queue}.asleep") < 80_000


def test_a_small_batch_behind_a_large_one_starts_at_once_and_ends_first(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=0.2)
    make_batch(ledger, 2_000, batch_id="large", queue=fleet.queue)
    feed(ledger, fleet)  # a thousand of them wait on the queue
    start(fleet)
    eventually(lambda: statuses(ledger, "large").count("done") >= 8)
    make_batch(ledger, 24, batch_id="small", queue=fleet.queue)
    eventually(lambda: set(statuses(ledger, "small")) == {"done"}, 60)
    # Each had its turn: the small one's rows took about as many of the large one's with them.
    assert statuses(ledger, "large").count("done") < 1_000


def test_results_survive_a_wiped_broker(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    redis_url: str,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=1)
    make_batch(ledger, 60, queue=fleet.queue)
    feed(ledger, fleet)
    start(fleet)
    standin.wait_until(lambda summary: summary["calls"] >= 16)
    redis.Redis.from_url(redis_url).flushall()
    eventually(lambda: all_done(ledger), 90)
    assert set(standin.summary()["rows"].values()) == {1}


def test_a_worker_waits_for_a_ledger_that_is_not_there_yet(
    fleet: Settings,
    postgres_url: str,
    standin: Standin,
    start: Start,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    start(fleet)
    log = tmp_path / "worker.log"
    eventually(lambda: log.exists() and "has no schema yet" in log.read_text())
    engine = open_ledger(postgres_url)
    migrate(engine)
    make_batch(engine, 3, queue=fleet.queue)
    eventually(lambda: all_done(engine), 60)  # the worker itself fed them


def test_workers_are_listed_as_celery_sees_them(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    redis_url: str,
    rowfleet: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    import json

    standin.configure(latency=20)
    make_batch(ledger, 3, queue=fleet.queue)
    feed(ledger, fleet)
    start(fleet)
    standin.wait_until(lambda summary: summary["calls"] == 3)
    env = {"REDIS_URL": redis_url, "ROWFLEET_QUEUE": fleet.queue}
    (worker,) = json.loads(rowfleet("workers", "--json", env=env).stdout)
    assert worker["name"].startswith("w0@")
    assert (worker["pool"], worker["slots"]) == ("threads", 8)
    assert (worker["running"], worker["processed"]) == (3, 3)
    assert worker["pod"] is None
    with apiserver.running() as cluster:  # where the worker's host is a pod's name
        cluster.put("pods", worker_pod(worker["name"].removeprefix("w0@")))
        cluster.put("pods", worker_pod("another"))
        env["KUBECONFIG"] = str(cluster.kubeconfig(tmp_path / "kubeconfig"))
        both, another = json.loads(rowfleet("workers", "--json", env=env).stdout)
    assert (both["name"], both["slots"]) == (worker["name"], 8)
    assert both["pod"]["name"] == worker["name"].removeprefix("w0@")
    assert (another["name"], another["pod"]["name"]) == (None, "another")


def test_celerys_own_pool_option_is_heeded(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    start(fleet, "--pool", "prefork", "--concurrency", "2")
    log = tmp_path / "worker.log"
    eventually(lambda: log.exists() and "concurrency: 2 (prefork)" in log.read_text())


def test_an_option_that_would_kill_the_worker_is_refused(
    fleet: Settings, start: Start, tmp_path: Path
) -> None:
    assert start(fleet, "--autoscale", "20,5").wait(30) == 2
    assert "--autoscale needs --pool prefork" in (tmp_path / "worker.log").read_text()


def test_a_stuck_slot_ends_its_worker_and_the_next_one_finishes_the_batch(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    health = tmp_path / "health"
    make_batch(ledger, 30, queue=fleet.queue)
    feed(ledger, fleet)
    limits = fleet.model_copy(update={"soft_time_limit": 1.0, "time_limit": 4.0})
    # At 4 s one slot is stuck; the others run their second rows, which end at 6.8 s.
    monkeypatch.setenv("TEST_ROW_SECONDS", "3.4")
    monkeypatch.setenv("ROWFLEET_HEALTH_FILE", str(health))
    first = start(limits, app="tests.support.stuck_worker")
    eventually(health.exists)
    eventually(lambda: is_old(health))
    assert first.poll() is None
    assert first.wait(60) == 70
    monkeypatch.delenv("TEST_ROW_SECONDS")
    start(limits, app="tests.support.stuck_worker")
    eventually(lambda: statuses(ledger).count("done") == 29)
    with ledger.connect() as connection:
        (row,) = rows.failed_rows(connection, "b")
    assert (row.row, row.attempts) == (3, 1)  # as the sheet numbers it
    assert row.error == "over the hard time limit of 4 s"
