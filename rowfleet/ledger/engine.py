"""Opening the ledger, and bringing its schema up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Connection  # noqa: PLC0414 (callers import it from here)
from sqlalchemy import Engine as Engine  # noqa: PLC0414 (callers import it from here)
from sqlalchemy import create_engine, event, false, text, update
from sqlalchemy.engine import URL, make_url

from rowfleet.ledger.ledger_errors import translated
from rowfleet.ledger.models import Row
from rowfleet.services.service_urls import DATABASE_DRIVERS, check_database_url, sqlite_file

log = logging.getLogger(__name__)

#: Permissions of an SQLite ledger and of its directory, where they are made here: the user's only.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
#: Seconds a statement waits for SQLite's single writer, which is the other process.
SQLITE_BUSY_TIMEOUT = 30
#: Seconds between tries where SQLite does not wait by itself.
SQLITE_PAUSE = 0.05
#: Seconds to wait for PostgreSQL to answer a connect; a pod that can't be reached says nothing.
CONNECT_TIMEOUT = 10
#: Milliseconds that sent data may stay unanswered before the connection counts as dead.
TCP_USER_TIMEOUT_MS = 20_000
#: Milliseconds after which PostgreSQL ends a transaction whose client says no more: one that
#: stands still, or whose network does, would keep its rows from all others for hours. Between two
#: statements of ours lie milliseconds; leases last 45 seconds.
SILENT_MS = 15_000


def database_url(url: str) -> URL:
    """Return the SQLAlchemy URL for ``url`` with the driver the ledger uses.

    Raises ValueError, without the URL's password in it, if it is none or of an unknown database.
    """
    check_database_url(url)
    parsed = make_url(url)
    password = parsed.query.get("password")
    if isinstance(password, str):  # to where it is hidden when the URL is shown
        parsed = parsed.set(password=password).difference_update_query(["password"])
    return parsed.set(drivername=DATABASE_DRIVERS.get(parsed.drivername, parsed.drivername))


def from_anywhere(url: str) -> str:
    """Return the ledger's ``url`` for a process in another directory, where a path is relative."""
    file = sqlite_file(url)
    if file is None:
        return url
    path = str(Path(file).absolute())
    return make_url(url).set(database=path).render_as_string(hide_password=False)


def open_ledger(url: str, *, connections: int = 1) -> Engine:
    """Return an engine for the ledger at ``url`` that keeps at most ``connections`` open.

    One more is opened for a moment when all are in use. Works through pgbouncer in transaction
    mode: no prepared statements, no session state. Does not connect yet.
    """
    parsed = database_url(url)
    if parsed.drivername.startswith("sqlite"):
        return _open_sqlite(parsed, connections)
    engine = create_engine(
        parsed,
        hide_parameters=True,  # of statements in errors and logs: they are cells and answers
        pool_size=connections,
        max_overflow=1,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "prepare_threshold": None,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "fallback_application_name": "rowfleet",  # a URL may say another
        },
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # For this transaction only: behind pgbouncer the next one is another program's.
        options = connection.get_execution_options()
        if not options.get("only_reads"):
            settings = f"SET LOCAL idle_in_transaction_session_timeout = {SILENT_MS}"
            if "lock_timeout_ms" in options:
                settings += f"; SET LOCAL lock_timeout = {options['lock_timeout_ms']}"
            connection.exec_driver_sql(settings)

    return engine


def _to_wal(connection: sqlite3.Connection) -> None:
    """Let the database write ahead. While another process does the same, SQLite refuses at once."""
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(SQLITE_PAUSE)


def _open_sqlite(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url.set(database=str(Path(url.database or "").expanduser())),
        hide_parameters=True,  # of statements in errors and logs: they are cells and answers
        pool_size=connections,
        max_overflow=1,
        # Transactions begin explicitly below: pysqlite's own rules can't take the write lock early.
        # Not `autocommit=True`, Python 3.12's other word for that: with it, commit() does nothing.
        connect_args={
            "timeout": SQLITE_BUSY_TIMEOUT,
            "isolation_level": None,
            "check_same_thread": False,
        },
    )

    @event.listens_for(engine, "do_connect")
    def _make_private(_dialect: object, _record: object, args: Any, _options: object) -> None:
        # It holds cells and answers. SQLite gives the files beside it the same permissions.
        with suppress(OSError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(args[0], flags, PRIVATE_FILE))

    @event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
        _to_wal(connection)
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail when another wrote between.
        only_reads = connection.get_execution_options().get("only_reads")
        mode = "DEFERRED" if only_reads else "IMMEDIATE"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def waiting_briefly(engine: Engine, seconds: float) -> Engine:
    """Return the same engine, whose transactions wait ``seconds`` for a lock of another, at most.

    Then PostgreSQL counts as unavailable. SQLite waits SQLITE_BUSY_TIMEOUT as ever.
    """
    return engine.execution_options(lock_timeout_ms=max(1, round(seconds * 1000)))


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction, which is committed at the end of the block.

    What the database says within is raised as a LedgerError, and nothing is changed then.
    """
    with translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads, so that on SQLite it waits for no writer.

    Raises LedgerError as `writing` does.
    """
    with translated(engine), engine.connect().execution_options(only_reads=True) as connection:
        yield connection


@contextmanager
def looking(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that reads a few rows of many, and leaves the table of rows alone.

    PostgreSQL guesses how many rows of a batch run from how many of all do. Where a million are
    with the Batch API it would rather read the whole table than an index, and compile the query.
    """
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
            )
        yield connection


def check_ledger(engine: Engine) -> None:
    """Connect once. Raises LedgerError, without the password, if the database doesn't answer."""
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))


def try_to_write(connection: Connection) -> None:
    """Write without changing anything. Raises as a renewal would.

    PostgreSQL refuses even a change of no row if it only reads, or if the role may not change
    rows. SQLite has to put a page on the disk to find that it is full.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(update(Row).where(false()).values(lease_until=None))
    else:
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
