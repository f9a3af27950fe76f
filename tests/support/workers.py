"""What tests of real workers have in common."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from rowfleet.feeding.feeder import Feeder
from rowfleet.queue.client import Queue
from rowfleet.settings import VARIABLES, Settings
from tests.support.ledger import statuses

Start = Callable[..., subprocess.Popen[bytes]]

#: Seconds after which a health file counts as old that is touched five times a second.
OLD = 1.5


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with ``settings`` in it."""
    env = {**os.environ}
    for name, field in VARIABLES.items():
        value: Any = getattr(settings, field)
        if value is not None:
            env[name] = str(getattr(value, "get_secret_value", lambda v=value: v)())
    return env


def feed(engine: Engine, settings: Settings) -> Queue:
    queue = Queue(settings)
    Feeder(engine, queue, window=1000, redelivery=settings.visibility_timeout).feed()
    return queue


def all_done(engine: Engine) -> bool:
    return set(statuses(engine)) == {"done"}


def is_old(health: Path) -> bool:
    return time.time() - health.stat().st_mtime > OLD


def oldest(file: Path, seconds: float) -> float:
    """Return the greatest age, in seconds, that the file had while ``seconds`` passed."""
    until, ages = time.monotonic() + seconds, [0.0]
    while time.monotonic() < until:
        ages.append(time.time() - file.stat().st_mtime)
        time.sleep(0.05)
    return max(ages)
