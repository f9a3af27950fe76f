"""A row's outcome after an attempt, as a value. Nothing here touches ledger or queue."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from rowfleet.analysis import AnalysisError, Answer, Misconfigured, Postponed, Transient
from rowfleet.ledger.records import Claimed, Outcome, Spent
from rowfleet.ledger.statuses import RowReview, RowStatus

#: Retries are spread by up to this part of their delay, so that rows that failed together do not
#: come back together.
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a row is tried again after a transient error, and after how many seconds."""

    max_retries: int
    #: Seconds, where the API does not ask for a delay of its own.
    delay: float

    def seconds_until(self, row: Claimed, error: Transient) -> float | None:
        """Return the seconds until the row's next try, None if it has had all its tries."""
        if row.retries >= self.max_retries:
            return None
        wanted = self.delay if error.retry_after is None else error.retry_after
        return wanted * (1 + random.uniform(0, JITTER))  # noqa: S311 (not a secret)


def after_answer(row: Claimed, answer: Answer, spent: Spent, latency: float | None) -> Outcome:
    """Return the outcome of an attempt that was answered. ``latency`` is in seconds."""
    return Outcome(
        row.key,
        row.attempts,
        RowStatus.DONE,
        output=answer.output,
        spent=spent,
        latency=latency,
        review=_review(answer),
        reasons=answer.reasons,
    )


def _review(answer: Answer) -> RowReview | None:
    if answer.reasons:
        return RowReview.NEEDS_REVIEW
    return RowReview.AUTO_APPROVED if answer.is_approved else None


def after_failure(
    row: Claimed,
    error: AnalysisError,
    spent: Spent,
    latency: float | None,
    policy: RetryPolicy,
) -> Outcome:
    """Return the outcome of an attempt that was not answered.

    The policy says whether a transient error is tried again, and when. A misconfigured batch gets
    its row back without that counting, and so does one whose row only waited. A row that was
    answered, and then waited, has had a try: else invalid answers with a 429 between them would be
    paid for without end.
    """
    reason = str(error)
    if isinstance(error, Postponed) and error.usage.calls:
        error = Transient(error.reason, error.usage, error.delay, said=error.said or None)
    if isinstance(error, Postponed):
        return Outcome(
            row.key,
            row.attempts,
            RowStatus.PENDING,
            delay=error.delay,
            counts=False,
            begun=False,
            spent=spent,
        )
    again = Outcome(
        row.key,
        row.attempts,
        RowStatus.PENDING,
        error=reason,
        brief=error.reason,
        spent=spent,
        latency=latency,
    )
    if isinstance(error, Misconfigured):
        return replace(again, counts=False)
    delay = policy.seconds_until(row, error) if isinstance(error, Transient) else None
    if delay is not None:
        return replace(again, delay=delay)
    if isinstance(error, Transient):
        reason = f"{reason} (tried {row.retries + 1} times)"
    return replace(again, status=RowStatus.FAILED, error=reason)
