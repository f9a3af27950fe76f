"""The services that a command meets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from rowfleet.ledger.engine import open_ledger


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, redis_url: str, database_url: str) -> redis.Redis:
    """Name the test's broker and ledger in the environment; return a client of the broker."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def named_ledger(
    monkeypatch: pytest.MonkeyPatch, migrated_file: Path, tmp_path: Path
) -> Iterator[Engine]:
    """A ledger in SQLite that the environment names, without a broker."""
    url = f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'ledger.db')}"
    monkeypatch.setenv("DATABASE_URL", url)
    engine = open_ledger(url)
    yield engine
    engine.dispose()


@pytest.fixture
def local_ledger(named_ledger: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """The same, for commands that run in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return named_ledger
