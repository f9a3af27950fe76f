"""The queue of a test's own settings."""

from __future__ import annotations

import pytest

from rowfleet.queue.client import Queue
from rowfleet.settings import Settings


@pytest.fixture
def queue(settings: Settings) -> Queue:
    return Queue(settings)
