"""A worker and a ledger of different versions: who can't run a row holds no message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import SCHEMA, migrate
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support.ledger import make_batch
from tests.support.workers import OLD, Start, all_done, oldest

POOLS = pytest.mark.parametrize("pool", ["threads", "prefork", "gevent"])


@POOLS
def test_it_waits_for_its_schema_and_then_goes_on(
    fleet: Settings,
    start: Start,
    pool: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    health, log = tmp_path / "health", tmp_path / "worker.log"
    monkeypatch.setenv("ROWFLEET_HEALTH_FILE", str(health))
    queue = Queue(fleet)
    queue.push("b", [0, 1, 2])
    options = ["--pool", pool, "--concurrency", "2"]
    workers = [start(fleet, *options, app="tests.support.quick_worker") for _ in range(2)]
    waits = f"the ledger has no schema yet, this worker works with {SCHEMA}; waiting"
    eventually(lambda: log.read_text().count(waits) == 2)
    eventually(health.exists)
    assert oldest(health, 3) < OLD  # longer than a silent consumer is given
    assert queue.depth() == (3, 0)
    workers[0].terminate()
    assert workers[0].wait(30) == 0
    assert queue.depth() == (3, 0)

    assert fleet.database_url
    ledger = open_ledger(fleet.database_url.get_secret_value())
    migrate(ledger)
    make_batch(ledger, 3, queue=fleet.queue)
    eventually(lambda: all_done(ledger))
    ledger.dispose()
    eventually(lambda: queue.depth() == (0, 0))
    workers[1].terminate()
    assert workers[1].wait(30) == 0
    assert log.read_text().count("waiting") == 2  # each has said it once
    assert "Traceback" not in log.read_text()


@POOLS
def test_it_ends_with_a_sentence_where_the_schema_is_newer(
    fleet: Settings, ledger: Engine, start: Start, pool: str, tmp_path: Path
) -> None:
    with ledger.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    queue = Queue(fleet)
    queue.push("b", [0, 1, 2])
    worker = start(fleet, "--pool", pool, "--concurrency", "2")
    assert worker.wait(30) == 3
    assert queue.depth() == (3, 0)
    log = (tmp_path / "worker.log").read_text()
    assert log.count("has the schema 9999 of a newer Rowfleet") == 1
    assert "Traceback" not in log
