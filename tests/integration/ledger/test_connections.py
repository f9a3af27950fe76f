"""Connections to the ledger: fifty workers fit a default PostgreSQL; SQLite is waited for."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.transitions import claiming
from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support.ledger import make_batch
from tests.support.workers import Start, all_done, feed

WORKERS = 4


@pytest.fixture
def limited(fleet: Settings, ledger: Engine) -> Iterator[Settings]:
    """Settings with a user who may have one connection."""
    role = f"limited_{uuid.uuid4().hex}"
    with ledger.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
    assert fleet.database_url
    url = make_url(fleet.database_url.get_secret_value()).set(username=role)
    yield fleet.model_copy(update={"database_url": SecretStr(str(url))})
    with ledger.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename=:role"
            ),
            {"role": role},
        )
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def named(settings: Settings, name: str) -> Settings:
    """Return the settings with connections that show by ``name`` whose they are."""
    assert settings.database_url
    url = make_url(settings.database_url.get_secret_value())
    url = url.update_query_dict({"application_name": name})
    secret = SecretStr(url.render_as_string(hide_password=False))
    return settings.model_copy(update={"database_url": secret})


def connections(ledger: Engine) -> Counter[str]:
    """Return how many connections each worker has."""
    with ledger.connect() as connection:
        return Counter(
            connection.execute(
                text("SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^w'")
            ).scalars()
        )


def test_a_worker_keeps_one_connection_and_never_has_more_than_two(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=0.1)
    for number in range(WORKERS):
        start(named(fleet, f"w{number}"))
    make_batch(ledger, 400, queue=fleet.queue)
    most: Counter[str] = Counter()

    def ended() -> bool:
        nonlocal most
        most |= connections(ledger)
        return all_done(ledger)

    eventually(ended, 60)
    eventually(lambda: len(connections(ledger)) == WORKERS, 60)  # the last to start, too
    until = time.monotonic() + 3  # the feeder goes on to look once a second
    idle = Counter[str]()
    while time.monotonic() < until:
        seen = connections(ledger)
        most |= seen
        idle = idle & seen or seen
    assert max(most.values()) <= 2
    assert idle == dict.fromkeys((f"w{number}" for number in range(WORKERS)), 1)


def test_a_server_that_takes_no_more_clients_is_waited_for(
    limited: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    make_batch(ledger, 60, queue=limited.queue)
    queue = feed(ledger, limited)
    assert limited.database_url
    other = open_ledger(limited.database_url.get_secret_value())
    log = tmp_path / "worker.log"
    with other.connect():
        worker = start(limited, app="tests.support.quick_worker")
        eventually(lambda: "too many connections" in log.read_text())
        eventually(lambda: log.read_text().count("; waiting") == 1)
        assert queue.depth() == (60, 0)
    other.dispose()
    # Feeder and rows have to share the one connection now: each tries again when it finds it taken.
    eventually(lambda: all_done(ledger), 60)
    assert standin.summary()["calls"] == 60
    worker.terminate()
    assert worker.wait(30) == 0
    assert "Traceback" not in log.read_text()


def test_nothing_is_left_behind_in_a_session(ledger: Engine) -> None:
    """So a pooler may give each transaction another one."""
    for number in range(10):  # psycopg's own default is to prepare from the fifth time on
        make_batch(ledger, 3, batch_id=f"b{number}")
        with ledger.begin() as connection:
            claiming.claim(connection, [(f"b{number}", 0)], holder="h", worker="w", lease=60)
    with reading(ledger) as connection:
        left = connection.execute(
            text(
                "SELECT name FROM pg_prepared_statements "
                "UNION ALL SELECT name FROM pg_settings WHERE source = 'session' "
                "UNION ALL SELECT 'a lock' FROM pg_locks "
                "WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            )
        ).scalars()
        assert list(left) == []


def test_a_new_sqlite_ledger_is_waited_for_while_another_process_makes_it(tmp_path: Path) -> None:
    """SQLite itself does not wait for the switch to its write-ahead log."""
    file = tmp_path / "ledger.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE t (x)")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    engine = open_ledger(f"sqlite:///{file}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
    other.close()
