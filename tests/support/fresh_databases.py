"""PostgreSQL databases for tests. A database that a test is done with is emptied for the next one,
which takes a fifth of the CPU time of CREATE DATABASE and a migration."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Base
from rowfleet.ledger.schema import SCHEMA, migrate

#: Every object in a database that a test can make or change, apart from rows of tables.
_OBJECTS = """
WITH mine AS (
    SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
relations AS (SELECT * FROM pg_class WHERE relnamespace IN (SELECT oid FROM mine)),
this AS (SELECT * FROM pg_database WHERE datname = current_database())
SELECT (nspname, nspowner, nspacl)::text FROM pg_namespace WHERE oid IN (SELECT oid FROM mine)
UNION ALL SELECT (relnamespace, relname, relkind, relowner, relpersistence, relacl, reloptions,
    relrowsecurity, pg_get_viewdef(oid))::text FROM relations
UNION ALL SELECT (attrelid::regclass, attnum, attname, atttypid, atttypmod, attnotnull, attidentity,
    attgenerated, attacl, attoptions, pg_get_expr(adbin, adrelid))::text
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid IN (SELECT oid FROM relations) AND attnum > 0
UNION ALL SELECT (conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid))::text
    FROM pg_constraint WHERE connamespace IN (SELECT oid FROM mine)
UNION ALL SELECT (indisvalid, pg_get_indexdef(indexrelid))::text
    FROM pg_index WHERE indrelid IN (SELECT oid FROM relations)
UNION ALL SELECT (tgenabled, pg_get_triggerdef(oid))::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT (pronamespace, proname)::text
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM mine)
UNION ALL SELECT (typnamespace, typname)::text
    FROM pg_type WHERE typnamespace IN (SELECT oid FROM mine)
UNION ALL SELECT extname::text FROM pg_extension
UNION ALL SELECT defaclacl::text FROM pg_default_acl
UNION ALL SELECT (datacl, datdba, datallowconn, datconnlimit)::text FROM this
UNION ALL SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM this)
"""


class Databases:
    """Databases of the server whose maintenance database is at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._numbers = itertools.count()
        self._idle: list[str] = []
        self._admin = self._connection(self._url.database or "")
        # Servers of tests end with them: what they write need not survive a crash.
        for setting in ("fsync", "full_page_writes"):
            self._admin.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(_name(setting)))
        self._admin.execute("SELECT pg_reload_conf()")
        new = self._new()
        self._empty = self.objects(new)
        self._migrate(new)
        self._migrated = self.objects(new)
        self._idle.append(new)

    @contextmanager
    def one(self, *, with_tables: bool) -> Iterator[str]:
        """Yield the URL of a database for the block, of a name that none had before.

        The database is empty; or, ``with_tables``, it has the ledger's tables without a row.
        """
        name = self._emptied(with_tables=with_tables)
        if name is None:
            name = self._new()
            if with_tables:
                self._migrate(name)
        yield self._at(name)
        self._idle.append(name)

    def objects(self, name: str) -> list[str]:
        """Return a description of every object in the database, apart from the tables' rows."""
        with self._connection(name) as connection:
            return sorted(found for (found,) in connection.execute(_OBJECTS))

    def close(self) -> None:
        """Leave the server, which can stop then."""
        self._admin.close()

    def _emptied(self, *, with_tables: bool) -> str | None:
        """Return an idle database, emptied; None if there is none, or none that can be."""
        while self._idle:
            # A program that outlives its test does not find the database under its new name.
            old, name = self._idle.pop(), self._new_name()
            self._admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
                [old],
            )
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(_name(old), _name(name))
            try:
                self._admin.execute(rename)
            except psycopg.errors.ObjectInUse:
                self._drop(old)
                continue
            objects = self.objects(name)
            if objects == self._migrated:
                self._remove(name, with_tables=with_tables)
            elif objects == self._empty:
                if with_tables:
                    self._migrate(name)
            else:
                self._drop(name)
                continue
            return name
        return None

    def _remove(self, name: str, *, with_tables: bool) -> None:
        """Remove the rows of the ledger, or the tables with them."""
        tables = sql.SQL(", ").join(map(_name, [*Base.metadata.tables, "alembic_version"]))
        with self._connection(name) as connection:
            if with_tables:
                connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(tables))
                connection.execute("INSERT INTO alembic_version VALUES (%s)", [SCHEMA])
            else:
                connection.execute(sql.SQL("DROP TABLE {}").format(tables))

    def _new(self) -> str:
        name = self._new_name()
        self._admin.execute(sql.SQL("CREATE DATABASE {}").format(_name(name)))
        return name

    def _new_name(self) -> str:
        return f"test_{os.getpid()}_{next(self._numbers)}"

    def _drop(self, name: str) -> None:
        self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(_name(name)))

    def _migrate(self, name: str) -> None:
        engine = open_ledger(self._at(name))
        migrate(engine)
        engine.dispose()

    def _at(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _connection(self, name: str) -> psycopg.Connection[Any]:
        url = self._url.set(drivername="postgresql", database=name)
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def _name(text: str) -> sql.Identifier:
    return sql.Identifier(text)
