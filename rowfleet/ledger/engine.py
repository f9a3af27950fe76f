"""Opening the ledger, and bringing its schema up to date."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.settings import database_url

log = logging.getLogger(__name__)

#: The newest revision in `migrations`; a constant so that a worker need not load Alembic to know.
SCHEMA = "0002"

#: Seconds a statement waits for SQLite's single writer, which is the other process.
SQLITE_BUSY_TIMEOUT = 30
#: Seconds to wait for PostgreSQL to answer a connect; a pod that can't be reached says nothing.
CONNECT_TIMEOUT = 10
#: Milliseconds after which PostgreSQL gives up a statement; none of the ledger's takes seconds.
STATEMENT_TIMEOUT_MS = 60_000
#: Milliseconds that sent data may stay unanswered before the connection counts as dead.
TCP_USER_TIMEOUT_MS = 20_000
#: Any constant; it names the lock that keeps two migrations apart.
_MIGRATION_LOCK = 0x526F77666C656574 & 0x7FFFFFFFFFFFFFFF


class NewerSchemaError(ServiceError):
    """A newer Rowfleet has migrated the ledger, which no waiting mends."""


def open_ledger(url: str, *, connections: int = 1) -> Engine:
    """Return an engine for the ledger at ``url`` that keeps at most ``connections`` open.

    One more is opened for a moment when all are in use. Works through pgbouncer in transaction
    mode: no prepared statements, no session state. Does not connect yet.
    """
    parsed = database_url(url)
    if parsed.drivername.startswith("sqlite"):
        return _open_sqlite(parsed, connections)
    return create_engine(
        parsed,
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
            "application_name": "rowfleet",
        },
    )


def _open_sqlite(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url.set(database=str(Path(url.database or "").expanduser())),
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

    @event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail when another wrote between.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads, so that on SQLite it waits for no writer."""
    with engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
        yield connection


def is_unavailable(error: DBAPIError) -> bool:
    """Tell whether ``error`` means that the database is away, busy or lost a race, not misused."""
    return isinstance(error, OperationalError) or error.connection_invalidated


def check(engine: Engine) -> None:
    """Connect once. Raises ServiceError, without the password, if the database doesn't answer."""
    try:
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise unreachable(engine, error) from None


def unreachable(engine: Engine, error: DBAPIError) -> RowfleetError:
    """Return the sentence that says which database can't be reached, and why.

    A ServiceError; an InputError for a file that is not SQLite's, which no waiting mends.
    """
    where = engine.url.render_as_string(hide_password=True)
    if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_NOTADB":
        return InputError(f"DATABASE_URL: {engine.url.database} is not an SQLite database")
    why = " ".join(str(error.orig).split())
    if engine.url.password and str(engine.url.password) in why:
        why = why.replace(str(engine.url.password), "***")
    return ServiceError(f"the ledger's database {where} can't be reached: {why}")


def head() -> str:
    """Return the schema revision that this version of Rowfleet works with."""
    return SCHEMA


def current(connection: Connection) -> str | None:
    """Return the schema revision the database has, None if it has no ledger yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar()
    return version


def migrate(engine: Engine) -> None:
    """Create the ledger's schema or bring it up to date; safe when several do so at once.

    Raises ServiceError if the database can't be reached, or was migrated by a newer Rowfleet.
    """
    if engine.dialect.name == "sqlite":
        Path(engine.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    try:
        with reading(engine) as connection:
            found = current(connection)
        if found != SCHEMA:
            _upgrade(engine, found)
    except DBAPIError as error:
        raise unreachable(engine, error) from None


def _upgrade(engine: Engine, found: str | None) -> None:
    # Half a second to import, and only who creates or migrates a ledger needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "rowfleet.ledger:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise NewerSchemaError(
            f"the ledger has the schema {found} of a newer Rowfleet; this version knows "
            f"{SCHEMA} and leaves it alone"
        )
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def wait_for_schema(engine: Engine, *, poll: float = 5.0, give_up: Any = None) -> None:
    """Return once the database has this version's schema; say once what is waited for.

    ``poll`` is in seconds; ``give_up`` is a threading.Event that ends the wait early.
    """
    said = None
    while not (give_up and give_up.is_set()):
        try:
            with reading(engine) as connection:
                found = current(connection)
            if found == head():
                if said:
                    log.warning("the ledger is ready; going on")
                return
            state = "has no schema yet" if found is None else f"has the schema {found}"
            problem = f"the ledger {state}, this worker works with {head()}; waiting"
        except DBAPIError as error:
            problem = f"{unreachable(engine, error)}; waiting"
        if problem != said:
            log.warning("%s", problem)
            said = problem
        time.sleep(poll)
