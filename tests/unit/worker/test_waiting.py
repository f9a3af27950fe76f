"""A worker that starts first finds its ledger and its broker soon after they are there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection

from rowfleet.ledger.engine import Engine, open_ledger
from rowfleet.ledger.schema import migrate
from worker import consumer, ledger
from worker.steps import schema

#: Seconds between two looks, at most.
SOON = 1.0


class Clock(Event):
    """Counts the seconds that are waited for, and lets none pass."""

    def __init__(self, then: Callable[[], object], after: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._then, self._after = then, after

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == self._after:
            self._then()
        return self.is_set()


@pytest.fixture
def empty(tmp_path: Any) -> Engine:
    """A ledger without a schema."""
    return open_ledger(f"sqlite:///{tmp_path / 'new.db'}")


def test_a_schema_is_found_within_a_second(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda: migrate(empty), after=3)
    monkeypatch.setattr(schema, "threading", SimpleNamespace(Event=lambda: clock, Thread=Thread))
    monkeypatch.setattr(ledger, "engine", lambda _: empty)
    step = schema.Schema(None)
    step.start(SimpleNamespace(app=SimpleNamespace(rowfleet_settings=None)))
    assert len(clock.waits) == 3
    assert max(clock.waits) <= SOON


def test_a_broker_is_found_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    at_tries: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    def connect(_: object) -> str:
        at_tries.append(sum(slept))
        if len(at_tries) < 8:
            raise ConnectionError("away")
        return "connected"

    monkeypatch.setattr("kombu.utils.functional.sleep", sleep)
    monkeypatch.setattr(Connection, "_connection_factory", connect)
    waiting: Any = consumer.Consumer.__new__(consumer.Consumer)
    waiting.ensure_connected(Connection("redis://127.0.0.1"))
    assert max(later - before for before, later in pairwise(at_tries)) <= SOON
