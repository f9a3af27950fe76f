"""One row's life in a worker: claim it, ask about it, write down how that ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from celery.exceptions import Retry

from rowfleet import cells, fate, prices
from rowfleet.api_failures import Doubts
from rowfleet.ledger.transitions import Outcome, Spent
from worker.analyzers import AnalysisError, Analyzer, Misconfigured, Question, Usage
from worker.bookkeeper import Assignment, BatchInfo, Bookkeeper, Refused

log = logging.getLogger(__name__)


class RowFailed(Exception):
    """A row has failed for good. Its text names the kind of failure, and stands in logs and events.

    The ledger has the reason, which may quote the row or its answer.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often a row is tried, in seconds and tries."""

    max_retries: int
    retry_delay: float
    soft_time_limit: float


def run_row(
    batch_id: str,
    row_number: int,
    *,
    books: Bookkeeper,
    analyzer: Callable[[str], Analyzer],
    limits: Limits,
    doubts: Doubts,
) -> str:
    """Run one row and return how it ended, in a word or two for Flower.

    Returns only when the ledger has the result, so that the message may be acknowledged. Raises
    RowFailed for a row that failed, Celery's Retry for one that is tried again later.
    """
    assignment = books.claim((batch_id, row_number))
    if isinstance(assignment, Refused):
        log.info("row %d of %s not run: %s", row_number, batch_id, assignment.why)
        return assignment.why
    row, clock = assignment.row, assignment.clock
    try:
        answer = analyzer(assignment.batch.record.analyzer).answer(
            _question(assignment, limits.soft_time_limit)
        )
    except AnalysisError as failure:
        error = doubts.judged(batch_id, failure)
        outcome = fate.of_failure(
            row,
            error,
            _spent(error.usage, assignment.batch),
            clock.seconds(),
            max_retries=limits.max_retries,
            retry_delay=limits.retry_delay,
        )
        if isinstance(error, Misconfigured):
            books.stop_batch(batch_id, str(error))
            log.error("batch %s stopped: %s; rowfleet progress says more", batch_id, error.reason)
    else:
        doubts.answered(batch_id)
        outcome = fate.of_answer(
            row, answer, _spent(answer.usage, assignment.batch), clock.seconds()
        )
    if not books.settle(outcome):
        log.warning(
            "row %d of %s: result dropped, another worker has taken the row over",
            row_number,
            batch_id,
        )
        return "taken over by another worker"
    return _reported(outcome)


def _reported(outcome: Outcome) -> str:
    if outcome.status == "failed":
        raise RowFailed(outcome.brief)
    if outcome.status == "pending" and outcome.counts:
        raise Retry(outcome.brief, when=outcome.delay)
    if outcome.status == "pending":
        return "batch stopped" if outcome.error else "given back"
    return "done"


def _question(assignment: Assignment, time_limit: float) -> Question:
    record = assignment.batch.record
    row = assignment.row
    return Question(
        recipe=assignment.batch.recipe,
        model=record.model,
        row_number=row.key[1],
        cells=cells.sent(record.columns, row.cells),
        duplicate_of=assignment.duplicate_of,
        time_limit=time_limit,
        clock=assignment.clock,
    )


def _spent(usage: Usage, batch: BatchInfo) -> Spent:
    cost = None
    if batch.record.analyzer != "openai":
        cost = 0.0
    elif usage.calls:
        cost = prices.dollars(
            batch.record.model,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            completion_tokens=usage.completion_tokens,
            service_tier=usage.service_tier or batch.recipe.options.service_tier,
            price=batch.price,
        )
    return Spent(
        calls=usage.calls,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=cost,
    )
