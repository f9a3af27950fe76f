"""Opening the ledger, and bringing its schema up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.masking import MASK, outside
from rowfleet.settings import database_url

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

#: The newest revision in `migrations`; a constant so that a worker need not load Alembic to know.
SCHEMA = "0005"

#: Permissions of an SQLite ledger and of its directory, where they are made here: the user's only.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
#: Seconds a statement waits for SQLite's single writer, which is the other process.
SQLITE_BUSY_TIMEOUT = 30
#: Seconds to wait for PostgreSQL to answer a connect; a pod that can't be reached says nothing.
CONNECT_TIMEOUT = 10
#: Milliseconds that sent data may stay unanswered before the connection counts as dead.
TCP_USER_TIMEOUT_MS = 20_000
#: Milliseconds after which PostgreSQL ends a transaction whose client says no more: one that
#: stands still, or whose network does, would keep its rows from all others for hours. Between two
#: statements of ours lie milliseconds; leases last 45 seconds.
SILENT_MS = 15_000
#: PostgreSQL's codes for a write on a standby, for a table and a column that are not there, and for
#: what a role may not do. https://www.postgresql.org/docs/current/errcodes-appendix.html
_READ_ONLY, _UNDEFINED, _NOT_ALLOWED = "25006", ("42P01", "42703"), "42501"
#: Classes of PostgreSQL's codes whose messages name roles and tables, and no values: who may log
#: in, what may be done, what there is. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OF_NAMES = ("28", "42")
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
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
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

    Then PostgreSQL raises an OperationalError. SQLite waits SQLITE_BUSY_TIMEOUT as ever.
    """
    return engine.execution_options(lock_timeout_ms=max(1, round(seconds * 1000)))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads, so that on SQLite it waits for no writer."""
    with engine.connect().execution_options(only_reads=True) as connection:
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


def is_unavailable(error: DBAPIError) -> bool:
    """Tell whether ``error`` means that the database is away, busy or lost a race, not misused.

    A server that takes no more clients is busy; one that only reads is a standby since a fail-over.
    """
    return (
        isinstance(error, OperationalError)
        or error.connection_invalidated
        or _sqlstate(error) == _READ_ONLY
    )


def lacks_schema(error: DBAPIError) -> bool:
    """Tell whether ``error`` means that the ledger has not this version's tables and columns."""
    missing = ("no such table", "no such column", "has no column named")  # SQLite has no codes
    return _sqlstate(error) in _UNDEFINED or any(text in str(error.orig) for text in missing)


def is_denied(error: DBAPIError) -> bool:
    """Tell whether ``error`` means that this user may not do that, until a person grants it."""
    return _sqlstate(error) == _NOT_ALLOWED


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


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
    why = words_of(error)
    if lacks_schema(error):
        return ServiceError(f"the ledger in {where} lacks tables of this version: {why}")
    if is_denied(error):
        return ServiceError(f"the role that DATABASE_URL names in {where} may not do that: {why}")
    if engine.url.password and str(engine.url.password) in why:
        why = why.replace(str(engine.url.password), MASK)
    return ServiceError(f"the ledger's database {where} can't be reached: {why}")


def words_of(error: DBAPIError) -> str:
    """Return what the database says of ``error``, unless that may quote what it was given.

    A database that is away, has not this version's tables, or denies a right, speaks of those. Of a
    value that it does not take it quotes the value, which may be a cell: then only the error's kind
    is named.
    """
    names_things = (_sqlstate(error) or "").startswith(_OF_NAMES)
    if is_unavailable(error) or lacks_schema(error) or names_things:
        diagnosis = getattr(error.orig, "diag", None)
        return outside(getattr(diagnosis, "message_primary", None) or error.orig)
    code = _sqlstate(error) or getattr(error.orig, "sqlite_errorname", "")
    return f"{type(error.orig).__name__} {code}".strip()


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


def is_newer(found: str | None) -> bool:
    """Tell whether the revision ``found`` in a database is of a later Rowfleet than this one."""
    if found in {None, SCHEMA}:
        return False
    # Half a second to import, and only who finds another schema than its own needs it.
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    return found not in {old.revision for old in script.walk_revisions("base", SCHEMA)}


def _newer(found: str | None) -> NewerSchemaError:
    return NewerSchemaError(
        f"the ledger has the schema {found} of a newer Rowfleet; this version knows "
        f"{SCHEMA} and leaves it alone"
    )


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "rowfleet.ledger:migrations")
    return config


def migrate(engine: Engine) -> None:
    """Create the ledger's schema or bring it up to date; safe when several do so at once.

    Raises ServiceError if the database can't be reached, was migrated by a newer Rowfleet, or lets
    another role make and change tables.
    """
    if engine.dialect.name == "sqlite":
        folder = Path(engine.url.database or "").parent
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    try:
        with reading(engine) as connection:
            found = current(connection)
        if is_newer(found):
            raise _newer(found)
        if found != SCHEMA:
            _upgrade(engine)
    except DBAPIError as error:
        if is_denied(error):
            where = engine.url.render_as_string(hide_password=True)
            raise ServiceError(
                f"the role that DATABASE_URL names in {where} may not make or change tables, and "
                f"the ledger lacks the schema {SCHEMA}; run `rowfleet migrate` as the tables' owner"
            ) from None
        raise unreachable(engine, error) from None


def _upgrade(engine: Engine) -> None:
    from alembic import command

    config = _config()
    with engine.connect() as connection, foreign_keys_off(connection), connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if is_newer(found := current(connection)):  # while the lock was waited for
            raise _newer(found)
        config.attributes["connection"] = connection
        command.upgrade(config, SCHEMA)


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let SQLite not look at foreign keys for a while; for PostgreSQL there is nothing to do.

    SQLite changes a table by copying it and dropping the old one, and dropping `batches` would
    delete all rows with it. The switch has no effect inside a transaction.
    https://www.sqlite.org/lang_altertable.html#otheralter
    """
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        yield
        return
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def wait_for_schema(engine: Engine, *, poll: float = 5.0, give_up: Event | None = None) -> None:
    """Return once the database has this version's schema; say once what is waited for.

    ``poll`` is in seconds; ``give_up`` ends the wait early. Raises NewerSchemaError if a newer
    Rowfleet has migrated the ledger.
    """
    give_up = give_up or Event()
    said = None
    while not give_up.is_set():
        try:
            with reading(engine) as connection:
                found = current(connection)
            if found == SCHEMA:
                if said:
                    log.warning("the ledger is ready; going on")
                return
            if is_newer(found):
                raise _newer(found)
            state = "has no schema yet" if found is None else f"has the schema {found}"
            problem = f"the ledger {state}, this worker works with {SCHEMA}; waiting"
        except DBAPIError as error:
            problem = f"{unreachable(engine, error)}; waiting"
        if problem != said:
            log.warning("%s", problem)
            said = problem
        give_up.wait(poll)
