"""The services that a command meets."""

from __future__ import annotations

import pytest
import redis


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, redis_url: str, database_url: str) -> redis.Redis:
    """Name the test's broker and ledger in the environment; return a client of the broker."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return redis.Redis.from_url(redis_url)
