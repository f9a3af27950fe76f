"""How long a row has run, without the time it waited for its turn at the API."""

from __future__ import annotations

import threading
import time


class Stopwatch:
    """Runs from its start but for its pauses. Thread-safe."""

    #: Whether the row need not begin any more: its batch has ended while it waited.
    is_called_off = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = 0.0
        self._since: float | None = time.monotonic()

    def pause(self) -> None:
        """Stand still; more than once is fine."""
        with self._lock:
            if self._since is not None:
                self._before += time.monotonic() - self._since
                self._since = None

    def resume(self) -> None:
        """Go on; more than once is fine."""
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds it has run."""
        with self._lock:
            return self._before + (0.0 if self._since is None else time.monotonic() - self._since)
