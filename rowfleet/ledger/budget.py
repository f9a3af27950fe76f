"""How many rows a batch's budget admits at once.

A row's cost is known only when it has ended. So what the rows in flight will cost is set aside
before they start: their number times the mean so far, and three standard deviations of such a sum.
Near the end fewer and fewer rows run at once, and the budget is met from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.prices import in_words

#: Rows in flight while none has ended, so that a wrong guess costs ten rows at most. With each row
#: that ends one more may run: the number doubles in the time that a row takes.
FIRST_ROWS = 10

#: Standard deviations set aside beside the mean. A sum of many costs is above that in one batch of
#: 700 (a normal distribution's share above three).
DEVIATIONS = 3.0

#: As many rows as anybody wants.
UNBOUNDED = 1 << 31


@dataclass(frozen=True, slots=True)
class Budget:
    """What a batch may cost, what it has cost, and what is known of a row's cost, in dollars."""

    max_cost: float
    spent: float
    #: Answered calls whose price is not known.
    unpriced_calls: int
    #: Rows that have ended.
    ended: int
    #: Attempts that ``spent`` sums up, and the sum of the squares of their costs.
    priced: int
    cost_squared: float

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left, or nobody knows what is."""
        return self.unpriced_calls > 0 or self.spent >= self.max_cost

    def admits(self) -> int:
        """Return how many rows may be in flight altogether."""
        if self.is_spent:
            return 0
        if not self.priced:
            return FIRST_ROWS
        mean = self.spent / self.priced
        if mean <= 0:
            return UNBOUNDED
        variance = max(0.0, self.cost_squared / self.priced - mean * mean)
        beside = DEVIATIONS * math.sqrt(variance)
        # The largest n with n * mean + beside * sqrt(n) <= left.
        left = self.max_cost - self.spent
        root = (math.sqrt(beside * beside + 4 * mean * left) - beside) / (2 * mean)
        return min(int(root * root + 1e-9), FIRST_ROWS + self.ended)

    def reason(self) -> str:
        """Return in a sentence why no further row is admitted."""
        if self.unpriced_calls:
            return (
                f"the price of {self.unpriced_calls:,} answered calls is not known, "
                "so what is left of the budget is not known"
            )
        return f"{in_words(self.spent)} of its budget of {in_words(self.max_cost)} are spent"


def of_batch(connection: Connection, batch_id: str) -> Budget | None:
    """Return the batch's budget as it stands, None if it has none.

    Who subtracts the rows in flight must have counted them before: a row that ends in between
    then counts twice, and not never.
    """
    max_cost = connection.execute(
        select(Batch.max_cost).where(Batch.id == batch_id)
    ).scalar_one_or_none()
    if max_cost is None:
        return None
    sums = connection.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (
                    Tally.cost_usd,
                    Tally.unpriced_calls,
                    Tally.done + Tally.failed,
                    Tally.priced,
                    Tally.cost_squared,
                )
            )
        ).where(Tally.batch_id == batch_id)
    ).one()
    spent, unpriced, ended, priced, squared = tuple(sums)
    return Budget(
        float(max_cost), float(spent), int(unpriced), int(ended), int(priced), float(squared)
    )


def in_flight(connection: Connection, batch_id: str, *statuses: str) -> int:
    """Return how many rows of the batch have one of ``statuses``."""
    return connection.execute(
        select(func.count()).where(Row.batch_id == batch_id, Row.status.in_(statuses))
    ).scalar_one()
