"""The last rows of a worksheet as the check read them, so that a look at its end reads no more."""

from __future__ import annotations

from collections import deque

from submitter.sheets.plain import plain_rows

#: Bytes of runs (64 KiB) that are kept at the least: some 80 rows of 15 columns. A run has up to
#: `plain_rows.CHUNK` and `plain_rows.MAX_ROW` bytes, so no more than 832 KiB are kept.
LEAST_BYTES = 64 << 10


class LastRuns:
    """Keeps the last runs of plain rows between which nothing else stands."""

    def __init__(self) -> None:
        self._runs: deque[bytes] = deque()
        self._bytes = 0
        #: Whether something else came behind the runs.
        self._is_cut = False

    def take(self, other: bytes, run: bytes) -> None:
        """Take the next piece of the worksheet, as `plain_rows.split` gives it."""
        self._is_cut = self._is_cut or bool(other)
        if not run:
            return
        if self._is_cut:
            self._runs.clear()
            self._bytes, self._is_cut = 0, False
        self._runs.append(run)
        self._bytes += len(run)
        while self._bytes - len(self._runs[0]) >= LEAST_BYTES:
            self._bytes -= len(self._runs.popleft())

    def up_to(self, row: int) -> tuple[bytes, ...]:
        """Return the runs if they end with that sheet row, counted from 0; otherwise none."""
        ends_there = self._runs and plain_rows.last_row(self._runs[-1]) == row + 1
        return tuple(self._runs) if ends_there else ()
