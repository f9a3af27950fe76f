"""Whether the ledger has taken writes for long enough to believe that a worker is gone."""

from __future__ import annotations

import math
import time

from rowfleet.ledger.engine import Engine, try_to_write, writing

#: Seconds for which the ledger must have taken a feeder's writes before the feeder takes a worker
#: for gone. A worker whose writes were refused, too, renews its leases within these.
PATIENCE = 10.0
#: Seconds between a feeder's tries to write, at least.
TRY_INTERVAL = 0.5


class Steadiness:
    """What one feeder knows of the ledger's absences."""

    def __init__(self, engine: Engine, redelivery: float) -> None:
        """``redelivery``: seconds until a dead worker's message is delivered again, above zero."""
        self._engine = engine
        self._redelivery = redelivery
        self._written_at = self._steady_since = -math.inf

    def check(self) -> bool:
        """Try to write, and tell whether the ledger has taken writes for as long as PATIENCE.

        Reads prove nothing: a database that only reads lets the leases of all workers run out.
        For a row to be expired that takes longer than ``redelivery``, so a gap of that length
        between two writes counts as an absence, and so does a write that is refused. Each write is
        noted, and not each step: a step over many batches may take longer. Raises LedgerError.
        """
        now = time.monotonic()
        if now - self._written_at >= TRY_INTERVAL:
            before, self._written_at = self._written_at, -math.inf
            with writing(self._engine) as connection:
                try_to_write(connection)
            self._written_at = now = time.monotonic()
            if now - before > self._redelivery:
                self._steady_since = now
        return now - self._steady_since >= PATIENCE
