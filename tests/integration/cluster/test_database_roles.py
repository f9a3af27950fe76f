"""The chart's roles of PostgreSQL, made by its own script on a real server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import migrate
from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support import databases
from tests.support.chart.cases import rendered
from tests.support.chart.manifests import component, data
from tests.support.ledger import make_batch, statuses
from tests.support.sheets import invoices
from tests.support.workers import Start

Run = Callable[..., subprocess.CompletedProcess[str]]

#: With what SQL and a shell would take apart.
OWNER_PASSWORD, PASSWORD = "owner'$(id) \\ \"%41", "rows'; DROP TABLE rows; --"


@dataclass(frozen=True)
class Release:
    """The release's PostgreSQL, with the files that the chart mounts into its pod."""

    server: databases.Server
    mounted: Path

    def make_roles(self, owner_password: str = "owner", password: str = "rows") -> None:
        """Do what the pod does as it starts."""
        hooks = component(rendered("minimal"), "postgresql").containers[0]["lifecycle"]
        command = hooks["postStart"]["exec"]["command"]
        assert command[-1].endswith("; exec sh /etc/rowfleet/roles.sh")
        subprocess.run(
            ["sh", self.mounted / "roles.sh"],
            env={
                "PATH": f"{self.server.programs}:{os.environ['PATH']}",
                "PGHOST": str(self.server.socket),
                "PGPORT": str(self.server.port),
                "LEDGER_OWNER_PASSWORD": owner_password,
                "LEDGER_PASSWORD": password,
            },
            check=True,
        )

    def on_the_socket(self, superuser: str, *statements: str, database: str = "rowfleet") -> None:
        at = f"host={self.server.socket}&port={self.server.port}"
        engine = open_ledger(f"postgresql://{superuser}@/{database}?{at}")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def url(self, user: str, password: str) -> str:
        return self.server.url(user, quote(password, safe=""))


@pytest.fixture(params=["new", "earlier"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Release]:
    """A volume as the image sets it up, and one with a ledger that an earlier chart has left."""
    for name, content in data(rendered("minimal"))["ConfigMap", "rowfleet-postgresql"].items():
        (tmp_path / name).write_text(content)
    superuser = "rowfleet_admin" if request.param == "new" else "rowfleet"
    with databases.running(superuser, tmp_path / "pg_hba.conf") as server:
        release = Release(server, tmp_path)
        release.on_the_socket(superuser, "CREATE DATABASE rowfleet", database="postgres")
        if request.param == "earlier":
            release.on_the_socket("rowfleet", "ALTER ROLE rowfleet PASSWORD 'rows'")
            engine = open_ledger(release.url("rowfleet", "rows"))
            migrate(engine)
            make_batch(engine)
            release.make_roles()  # while a worker of that version has a session
            with pytest.raises(DBAPIError), engine.connect() as connection:
                connection.exec_driver_sql("COPY batches FROM PROGRAM 'true'")
            engine.dispose()
        release.make_roles(OWNER_PASSWORD, PASSWORD)
        release.make_roles(OWNER_PASSWORD, PASSWORD)  # as at each start of the pod
        yield release


def _error(url: str, statement: str) -> DBAPIError:
    """Return what the server says to a statement that it does not run."""
    engine = open_ledger(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()
    return caught.value


def _is_not_allowed(url: str, statement: str) -> bool:
    return getattr(_error(url, statement).orig, "sqlstate", "") == "42501"


def test_owner_migrates_and_workers_only_read_and_write_rows(release: Release):
    owner, user = release.url("rowfleet_owner", OWNER_PASSWORD), release.url("rowfleet", PASSWORD)
    as_owner = open_ledger(owner)
    migrate(as_owner)
    with as_owner.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE later (id serial PRIMARY KEY, x int)")
    as_owner.dispose()

    as_user = open_ledger(user)
    make_batch(as_user, 5, batch_id="mine")
    assert len(statuses(as_user, "mine")) == 5
    with as_user.begin() as connection:
        for statement in (
            "INSERT INTO later (x) VALUES (1)",
            "UPDATE later SET x = 2",
            "DELETE FROM later",
        ):
            assert connection.exec_driver_sql(statement).rowcount == 1
    as_user.dispose()

    for statement in (
        "COPY batches FROM PROGRAM 'true'",
        "COPY batches TO PROGRAM 'true'",
        "COPY batches TO '/tmp/x'",
        "SELECT pg_read_file('/etc/passwd')",
        "CREATE ROLE another SUPERUSER",
        "CREATE DATABASE another",
        "ALTER ROLE rowfleet SUPERUSER",
        "SET ROLE rowfleet_admin",
    ):
        assert _is_not_allowed(owner, statement), statement
        assert _is_not_allowed(user, statement), statement
    for statement in (
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE rows ADD COLUMN mine int",
        "CREATE INDEX ON rows (status)",
        "DROP TABLE rows",
        "TRUNCATE rows",
        "SET ROLE rowfleet_owner",
    ):
        assert _is_not_allowed(user, statement), statement


def test_superuser_has_no_way_in_but_the_socket_and_wrong_passwords_none(release: Release):
    assert "reject" in str(_error(release.url("rowfleet_admin", PASSWORD), "SELECT 1"))
    for user, password in (("rowfleet", OWNER_PASSWORD), ("rowfleet_owner", PASSWORD)):
        assert "authentication failed" in str(_error(release.url(user, password), "SELECT 1"))
    other = release.url("rowfleet", PASSWORD).removesuffix("rowfleet") + "postgres"
    assert "permission denied" in str(_error(other, "SELECT 1"))
    log = release.server.log.read_text()
    assert PASSWORD not in log
    assert OWNER_PASSWORD not in log


@pytest.mark.parametrize("release", ["new"], indirect=True)
def test_fleet_runs_a_batch_once_the_owner_has_migrated(
    release: Release,
    redis_url: str,
    standin: Standin,
    start: Start,
    rowfleet: Run,
    tmp_path: Path,
    eventually: Callable[..., None],
):
    settings = Settings.model_validate(
        {
            "redis_url": redis_url,
            "database_url": release.url("rowfleet", PASSWORD),
            "openai_base_url": standin.base_url,
            "openai_api_key": "sk-test",
            "queue": "roles",
        }
    )
    start(settings)
    log = tmp_path / "worker.log"
    eventually(lambda: "the ledger has no schema yet" in log.read_text())
    env = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": release.url("rowfleet", PASSWORD),
        "ROWFLEET_QUEUE": "roles",
        "ROWFLEET_ANALYZER": "openai",
    }
    sheet = invoices(tmp_path / "sheet.xlsx", 4)
    submit = ("submit", "--excel", sheet, "--wait", "--export", tmp_path / "out.xlsx")
    early = rowfleet(*submit, env=env)
    assert early.returncode == 3
    (sentence,) = early.stderr.splitlines()
    assert "may not make or change tables" in sentence
    assert "`rowfleet migrate` as the tables' owner" in sentence
    assert "DROP TABLE" not in sentence

    owner = {"DATABASE_URL": release.url("rowfleet_owner", OWNER_PASSWORD)}
    assert rowfleet("migrate", env=owner).returncode == 0
    done = rowfleet(*submit, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.xlsx").exists()
