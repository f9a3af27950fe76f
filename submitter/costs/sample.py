"""A sample of a batch: what its rows cost, and so what the rest will."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rowfleet.ledger.records import SampledRow

#: Rows of a sample at most: they are printed one by one, and each is looked up by its number.
MOST_SAMPLED = 5_000

#: Standard errors of the mean that the range goes up and down; the bill is outside of it for one
#: batch in twenty, if the sample is not tiny.
STANDARD_ERRORS = 2.0
#: The spread of a sample of one, as a part of its cost: nothing is known of it.
SPREAD_OF_ONE = 1.0


@dataclass(frozen=True, slots=True)
class Projection:
    """What the rest of a batch will cost in dollars; None if the price is not known."""

    #: Rows that wait to be asked about.
    rows: int
    cost_usd: float | None
    cost_low_usd: float | None
    cost_high_usd: float | None


def project(sampled: Sequence[SampledRow], rest: int) -> Projection:
    """Return what ``rest`` rows like the ``sampled`` ones cost, with a range."""
    costs = [row.cost_usd for row in sampled if row.cost_usd is not None]
    if not costs or len(costs) < len(sampled):
        return Projection(rest, None, None, None)
    mean = statistics.fmean(costs)
    spread = statistics.stdev(costs) if len(costs) > 1 else SPREAD_OF_ONE * mean
    # The mean of the sample is off, and the rest has a spread of its own.
    error = STANDARD_ERRORS * spread * (rest * rest / len(costs) + rest) ** 0.5
    middle = mean * rest
    return Projection(rest, middle, max(0.0, middle - error), middle + error)
