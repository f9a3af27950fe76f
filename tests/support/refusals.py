"""A database that answers and takes no writes, as with a full disk or after a fail-over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event


@contextmanager
def only_reads(engine: Engine) -> Iterator[None]:
    """Let the database refuse what the engine's transactions write."""
    refuses = True
    is_sqlite = engine.dialect.name == "sqlite"

    def refuse(connection: Connection) -> None:
        if refuses:
            connection.exec_driver_sql(
                "PRAGMA query_only = ON" if is_sqlite else "SET TRANSACTION READ ONLY"
            )

    def end(connection: Connection) -> None:
        if is_sqlite:  # its word holds for the connection, not for one transaction
            connection.exec_driver_sql("PRAGMA query_only = OFF")

    event.listen(engine, "begin", refuse)
    for name in ("commit", "rollback"):
        event.listen(engine, name, end)
    try:
        yield
    finally:
        refuses = False
