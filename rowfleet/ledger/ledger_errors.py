"""Errors of the ledger, in terms of ours: callers of this package know no database library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.masking import MASK, outside

#: PostgreSQL's codes for a write on a standby, for a table and a column that are not there, and for
#: what a role may not do. https://www.postgresql.org/docs/current/errcodes-appendix.html
_READ_ONLY, _UNDEFINED, _NOT_ALLOWED = "25006", ("42P01", "42703"), "42501"
#: Classes of PostgreSQL's codes whose messages name roles and tables, no values: log-ins, rights
#: and missing objects. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OF_NAMES = ("28", "42")


class LedgerError(ServiceError):
    """The ledger's database did not do what it was asked; the transaction changed nothing.

    Only a commit is uncertain: it may have gone through before the connection broke.
    """


class LedgerUnavailable(LedgerError):
    """The database is away or busy, or the transaction lost a race: the same may work later."""


class LedgerLacksSchema(LedgerError):
    """The database has not this version's tables and columns, until it is migrated."""


class LedgerDenied(LedgerError):
    """The database's role may not do that, until a person grants it."""


class LedgerRefused(LedgerError):
    """The database does not take that statement or value, and never will."""

    def __init__(self, sentence: str, kind: str = "DatabaseError") -> None:
        """``kind`` is the class of PEP 249 that the database's error has; it quotes no value."""
        super().__init__(sentence, kind)
        self.kind = kind

    def __str__(self) -> str:
        """Return the sentence."""
        return str(self.args[0])


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raise what the database says within as a LedgerError.

    A file that is not SQLite's raises InputError instead: no waiting mends that.
    """
    try:
        yield
    except DBAPIError as error:  # whose text may quote a cell: no part of it is kept
        raise error_of(engine, error).with_traceback(error.__traceback__) from None


def error_of(engine: Engine, error: DBAPIError) -> RowfleetError:
    """Return our error for the database's, with a sentence that says which database, and why."""
    where = engine.url.render_as_string(hide_password=True)
    if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_NOTADB":
        return InputError(f"DATABASE_URL: {engine.url.database} is not an SQLite database")
    why = words_of(error)
    if lacks_schema(error):
        return LedgerLacksSchema(f"the ledger in {where} lacks tables of this version: {why}")
    if is_denied(error):
        return LedgerDenied(f"the role that DATABASE_URL names in {where} may not do that: {why}")
    if engine.url.password and str(engine.url.password) in why:
        why = why.replace(str(engine.url.password), MASK)
    if is_unavailable(error):
        return LedgerUnavailable(f"the ledger's database {where} can't be reached: {why}")
    return LedgerRefused(f"the ledger failed: {why}", type(error).__name__)


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


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
