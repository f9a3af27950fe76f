"""The ledger's schema: which revision it has, and how it is brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.engine import PRIVATE_FOLDER, log, reading
from rowfleet.ledger.ledger_errors import LedgerDenied, LedgerError, LedgerLacksSchema, translated
from rowfleet.ledger.patience import patiently

if TYPE_CHECKING:
    from alembic.config import Config


#: The newest revision in `migrations`; a constant so that a worker need not load Alembic to know.
SCHEMA = "0010"

#: Any constant; it names the lock that keeps two migrations apart.
_MIGRATION_LOCK = 0x526F77666C656574 & 0x7FFFFFFFFFFFFFFF


class NewerSchemaError(ServiceError):
    """A newer Rowfleet has migrated the ledger, which no waiting mends."""


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
    except LedgerDenied:
        where = engine.url.render_as_string(hide_password=True)
        raise LedgerDenied(
            f"the role that DATABASE_URL names in {where} may not make or change tables, and "
            f"the ledger lacks the schema {SCHEMA}; run `rowfleet migrate` as the tables' owner"
        ) from None


def _upgrade(engine: Engine) -> None:
    from alembic import command

    config = _config()
    with (
        translated(engine),
        engine.connect() as connection,
        foreign_keys_off(connection),
        connection.begin(),
    ):
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


def wait_for_schema(engine: Engine, *, poll: float = 1.0, give_up: Event | None = None) -> None:
    """Return once the database has this version's schema; say once why.

    ``poll`` is in seconds; ``give_up`` ends the wait early. Raises NewerSchemaError if a newer
    Rowfleet has migrated the ledger.
    """
    give_up = give_up or Event()
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if give_up.is_set():
            return
        with reading(engine) as connection:
            found = current(connection)
        if is_newer(found):
            raise _newer(found)
        if found != SCHEMA:
            state = "has no schema yet" if found is None else f"has the schema {found}"
            raise LedgerLacksSchema(f"the ledger {state}, this worker works with {SCHEMA}")

    patiently(
        look,
        log,
        "%s; waiting",
        waits_for=(LedgerError, InputError),
        pause=poll,
        sleep=give_up.wait,
        names_each=True,
    )
    if looks > 1 and not give_up.is_set():
        log.warning("the ledger is ready; going on")
