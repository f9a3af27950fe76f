"""How batches stand, as far as a feeder must know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """A batch that a queue should be fed with."""

    id: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands, as far as a feeder must know to leave it alone."""

    id: str
    status: str
    #: Whether it runs a sample only, and whether it has a budget.
    has_sample: bool
    has_budget: bool
    #: Whether a row waits that was never tried, and when the first retry is due.
    has_fresh: bool
    first_due: datetime | None
    #: Whether that is now or was before.
    is_due: bool
    #: Whether rows wait for the answer of another row, are queued, and run.
    has_followers: bool
    has_queued: bool
    has_running: bool

    @property
    def may_be_fed(self) -> bool:
        """Whether a row may go to the queue now."""
        return self.has_fresh or self.is_due

    @property
    def leads_nothing(self) -> bool:
        """Whether no row is left that runs by itself: those that follow another may be."""
        waits = self.has_fresh or self.first_due is not None
        return not (waits or self.has_queued or self.has_running)
