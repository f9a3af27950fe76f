"""`rowfleet migrate`: at any time, by several at once, before the database is there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import ReflectedColumn

from rowfleet.ledger import schema as ledger_schema
from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.schema import _config, current, head, migrate

Run = Callable[..., subprocess.CompletedProcess[str]]

#: What waits for a database that never comes must not take long.
SECONDS = "1.5"


def start(url: str, directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "submitter", "migrate", *options],
        env={**os.environ, "DATABASE_URL": url, "COLUMNS": "200"},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def schema(url: str) -> str | None:
    engine = open_ledger(url)
    with reading(engine) as connection:
        found = current(connection)
    engine.dispose()
    return found


@pytest.fixture
def late(postgres_url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """URL of a database that can't be reached, and a function after which it can."""
    url = make_url(postgres_url)
    there = Path(str(url.query["host"])) / ".s.PGSQL.5432"
    assert there.is_socket()
    with tempfile.TemporaryDirectory(prefix="late-") as home:  # short: see LONGEST_BASE
        moved = url.update_query_dict({"host": home})
        yield (
            moved.render_as_string(hide_password=False),
            lambda: (Path(home) / there.name).symlink_to(there),
        )


def test_several_at_the_same_instant_and_one_more_later(
    database_url: str, tmp_path: Path, rowfleet: Run
) -> None:
    for process in [start(database_url, tmp_path) for _ in range(3)]:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert f"has the schema {head()}" in out
        assert len(out.splitlines()) == 1
    assert schema(database_url) == head()
    assert rowfleet("migrate", env={"DATABASE_URL": database_url}).returncode == 0


def test_every_revision_only_adds_to_the_last(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a worker of the previous version goes on while, and after, the ledger is migrated."""
    script = ScriptDirectory.from_config(_config())
    engine = open_ledger(database_url)
    before: dict[tuple[str, str], ReflectedColumn] = {}
    for revision in reversed([revision.revision for revision in script.walk_revisions()]):
        monkeypatch.setattr(ledger_schema, "SCHEMA", revision)
        migrate(engine)
        tables = inspect(engine)
        after = {
            (table, column["name"]): column
            for table in tables.get_table_names()
            for column in tables.get_columns(table)
        }
        old_tables = {table for table, _ in before}
        for name, column in after.items():
            if name in before:
                assert str(column["type"]) == str(before[name]["type"]), name
                assert column["nullable"] or not before[name]["nullable"], name
            elif name[0] in old_tables:
                assert column["nullable"] or column["default"] is not None, name
        assert before.keys() <= after.keys()
        before = after
    engine.dispose()


def test_it_waits_for_a_database_that_comes_up_late(
    late: tuple[str, Callable[[], None]], tmp_path: Path
) -> None:
    url, come_up = late
    process = start(url, tmp_path, "--wait", "60")
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "can't be reached" in first
    assert first.rstrip().endswith("; waiting")
    come_up()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert f"has the schema {head()}" in out
    assert schema(url) == head()


@pytest.mark.parametrize("options", [(), ("--wait", SECONDS)])
def test_a_database_that_is_not_there_is_one_sentence(
    rowfleet: Run, options: tuple[str, ...]
) -> None:
    url = "postgresql://fleet:hunter2@127.0.0.1:9/fleet"  # the discard port: no server listens
    ran = rowfleet("migrate", *options, env={"DATABASE_URL": url})
    assert ran.returncode == 3
    waiting, sentence = ["", *ran.stderr.splitlines()][-2:]
    assert waiting.endswith("; waiting") is bool(options)
    assert sentence.startswith("rowfleet: the ledger's database postgresql")
    assert "127.0.0.1" in sentence
    assert len(ran.stderr.splitlines()) == 1 + bool(options)
    assert "hunter2" not in ran.stderr


def test_a_newer_schema_is_left_alone_and_not_waited_for(
    database_url: str, tmp_path: Path, rowfleet: Run
) -> None:
    engine = open_ledger(database_url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    ran = rowfleet("migrate", "--wait", "600", env={"DATABASE_URL": database_url}, timeout=60)
    assert ran.returncode == 3
    (sentence,) = ran.stderr.splitlines()
    assert "has the schema 9999 of a newer Rowfleet" in sentence
    assert schema(database_url) == "9999"
