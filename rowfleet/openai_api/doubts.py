"""Doubts whether an error concerns one row or its whole batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from rowfleet.analysis import AnalysisError, Misconfigured

#: Rows in a row that fail with a doubtful error, none answered in between, that stop their batch.
DOUBTFUL_ROWS: Final = 20

#: Seconds after which a doubtful error says nothing of the next one.
DOUBT_LASTS: Final = 60.0

#: Batches whose doubts a process keeps, at most: many times what it has rows of at once.
DOUBTED_BATCHES: Final = 1_000


class Doubts:
    """Doubtful errors in a row, for each batch, in one process. Thread-safe.

    An error that fails its row may be every row's: an option that the endpoint does not take, a
    gateway that lets no request through. When `DOUBTFUL_ROWS` come without an answer in between,
    it is taken for that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}

    def answered(self, batch_id: str) -> None:
        """Note that a row of the batch was answered."""
        with self._lock:
            self._counts.pop(batch_id, None)

    def judged(self, batch_id: str, error: AnalysisError) -> AnalysisError:
        """Return ``error``, or the Misconfigured that it has become."""
        if error.usage.calls:
            self.answered(batch_id)
        if error.usage.calls or not error.is_doubtful:
            return error
        with self._lock:
            now = self._clock()
            count, last = self._counts.get(batch_id, (0, now))
            count = 1 if now - last > DOUBT_LASTS else count + 1
            self._counts.pop(batch_id, None)  # so that the batch is the youngest entry again
            self._counts[batch_id] = (count, now)
            if len(self._counts) > DOUBTED_BATCHES:
                del self._counts[next(iter(self._counts))]
        if count < DOUBTFUL_ROWS:
            return error
        return Misconfigured(
            f"{DOUBTFUL_ROWS} rows failed in a row, and none was answered: {error.reason}",
            error.usage,
            said=error.said or None,
        )
