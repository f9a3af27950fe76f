"""How many rows a batch's budget admits at once.

A row's cost is known only when it has ended. So what the rows in flight will cost is set aside
before they start: their number times the mean so far, and three standard deviations of such a sum.
Near the end fewer and fewer rows run at once, and the budget is met from below.

A call that was sent and ended without an answer (a time limit, a broken connection) may be billed
all the same. Nothing tells what it cost, so it is taken for a try of mean cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.prices import Price, dollars, format_dollars

#: Rows in flight while none has ended, so that a wrong guess costs ten rows at most. With each row
#: that ends one more may run: the number doubles in the time that a row takes.
FIRST_ROWS = 10

#: Standard deviations set aside beside the mean. A sum of many costs is above that in one batch of
#: 700 (a normal distribution's share above three).
DEVIATIONS = 3.0

#: Tokens, sent and answered, of a call that may be billed while none of the batch was answered: a
#: long row, and an answer with some reasoning. A guess; the first answer takes its place.
UNSEEN_TOKENS = 2_000, 4_000

#: More rows than any batch has.
UNBOUNDED = 1 << 31


@dataclass(frozen=True, slots=True)
class Budget:
    """A batch's budget, its cost so far, and the known cost of a row, in dollars."""

    max_cost: float
    spent: float
    #: Answered calls whose cost is not known.
    unpriced_calls: int
    #: Rows that have ended.
    ended: int
    #: Attempts that ``spent`` sums up, and the sum of the squares of their costs.
    priced: int
    cost_squared: float
    #: Calls that ended without an answer and may be billed, and what one is taken to cost while
    #: nothing is known of a row's cost.
    possibly_billed: int = 0
    unseen_cost: float = 0.0

    @property
    def assumed(self) -> float:
        """Dollars that the calls without an answer are taken to cost."""
        one = self.spent / self.priced if self.priced else self.unseen_cost
        return self.possibly_billed * one

    @property
    def left(self) -> float:
        """Dollars that are left; below 0 if more are spent."""
        return self.max_cost - self.spent - self.assumed

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left, or the remainder is unknown."""
        return self.unpriced_calls > 0 or self.left <= 0

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
        root = (math.sqrt(beside * beside + 4 * mean * self.left) - beside) / (2 * mean)
        return min(int(root * root + 1e-9), FIRST_ROWS + self.ended)

    def reason(self) -> str:
        """Return in a sentence why no further row is admitted."""
        if self.unpriced_calls:
            return (
                f"the cost of {self.unpriced_calls:,} answered calls is not known, "
                "so what is left of the budget is not known"
            )
        budget = format_dollars(self.max_cost)
        spent = f"{format_dollars(self.spent)} of its budget of {budget} are spent"
        if not self.possibly_billed:
            return spent
        return (
            f"{spent}, and {format_dollars(self.assumed)} are set aside for "
            f"{self.possibly_billed:,} calls that ended without an answer and may be billed"
        )


def for_batch(connection: Connection, batch_id: str) -> Budget | None:
    """Return the batch's budget as it stands, None if it has none.

    Who subtracts the rows in flight must have counted them before: a row that ends in between
    then counts twice, and not never.
    """
    batch = connection.execute(
        select(Batch.max_cost, Batch.model, Batch.price, Batch.recipe).where(
            Batch.id == batch_id, Batch.max_cost.is_not(None)
        )
    ).one_or_none()
    if batch is None:
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
                    Tally.possibly_billed,
                )
            )
        ).where(Tally.batch_id == batch_id)
    ).one()
    spent, unpriced, ended, priced, squared, perhaps = tuple(sums)
    return Budget(
        float(batch.max_cost),
        float(spent),
        int(unpriced),
        int(ended),
        int(priced),
        float(squared),
        int(perhaps),
        _unseen_cost(batch) if perhaps and not priced else 0.0,
    )


def _unseen_cost(batch: Any) -> float:
    """Return what a call is taken to cost of which nothing is known; 0 without a known price."""
    prompt, completion = UNSEEN_TOKENS
    options = batch.recipe.get("options") or {}
    cost = dollars(
        batch.model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        service_tier=options.get("service_tier"),
        price=None if batch.price is None else Price.model_validate(batch.price),
    )
    return cost or 0.0


def in_flight(connection: Connection, batch_id: str, *statuses: str) -> int:
    """Return how many rows of the batch have one of ``statuses``."""
    return connection.execute(
        select(func.count()).where(Row.batch_id == batch_id, Row.status.in_(statuses))
    ).scalar_one()
