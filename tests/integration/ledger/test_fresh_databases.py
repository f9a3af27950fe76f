"""A database that a test was done with is as good as new for the next one."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, make_url, text

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import SCHEMA, current
from tests.support.fresh_databases import Databases
from tests.support.ledger import make_batch

CHANGES = [
    "UPDATE alembic_version SET version_num = '9999'",
    "DROP TABLE tallies",
    "ALTER TABLE rows ADD COLUMN mine integer",
    "ALTER TABLE rows ALTER COLUMN prompt_tokens SET DEFAULT 7",
    "ALTER TABLE rows ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE rows DROP CONSTRAINT rows_pkey CASCADE",
    "CREATE INDEX mine ON rows (status)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1",
    "GRANT SELECT ON rows TO PUBLIC",
    "CREATE SCHEMA mine",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 64'; END $$",
]


@pytest.mark.parametrize("with_tables", [True, False])
def test_no_row_and_no_name_is_left(databases: Databases, with_tables: bool) -> None:
    with databases.one(with_tables=True) as url:
        engine = open_ledger(url)
        make_batch(engine, rows=3)  # and its pool keeps a connection
    with databases.one(with_tables=with_tables) as again:
        assert again != url
        other = open_ledger(again)
        with other.connect() as connection:
            assert current(connection) == (SCHEMA if with_tables else None)
            if with_tables:
                assert connection.scalar(text("SELECT count(*) FROM rows")) == 0
                assert connection.scalar(text("SELECT count(*) FROM batches")) == 0
            else:
                assert inspect(connection).get_table_names() == []
        other.dispose()
    engine.dispose()


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_test_changed_is_as_it_was(databases: Databases, change: str) -> None:
    with databases.one(with_tables=True) as url:
        objects = databases.objects(name_in(url))
        engine = open_ledger(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(change)
        engine.dispose()
        changed = databases.objects(name_in(url)) != objects
        assert changed or change.startswith("UPDATE")
    with databases.one(with_tables=True) as again:
        assert databases.objects(name_in(again)) == objects
        engine = open_ledger(again)
        with engine.connect() as connection:
            assert current(connection) == SCHEMA
        engine.dispose()


def name_in(url: str) -> str:
    return str(make_url(url).database)
