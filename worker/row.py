"""One row's life in a worker: claim it, ask about it, write down how that ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from celery.exceptions import Retry, SoftTimeLimitExceeded

from rowfleet import cells, retry, spending
from rowfleet.analysis import (
    UNANSWERED,
    AnalysisError,
    Misconfigured,
    Permanent,
    Question,
    Transient,
    Usage,
)
from rowfleet.answers import missing_documents
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.statuses import RowStatus
from rowfleet.openai_api.doubts import Doubts
from rowfleet.retry import RetryPolicy
from worker.analyzers import Analyzer
from worker.analyzers.texts import Texts
from worker.assignment import Assignment, BatchInfo, Refused, ResultRefused
from worker.bookkeeper import Bookkeeper

log = logging.getLogger(__name__)


class RowFailed(Exception):
    """A row has failed for good. Its text names the kind of failure, and stands in logs and events.

    The ledger has the reason, which may quote the row or its answer.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a row is tried, and for how many seconds each time."""

    retries: RetryPolicy
    soft_time_limit: float


def run_row(
    batch_id: str,
    row_number: int,
    *,
    books: Bookkeeper,
    analyzer: Callable[[str], Analyzer],
    limits: Limits,
    doubts: Doubts,
    texts: Callable[[], Texts],
) -> str:
    """Run one row and return how it ended, in a few words for Flower.

    They begin with the row's number as a spreadsheet program shows it; ``row_number`` is the
    ledger's.

    Returns only when the ledger has the result, so that the message may be acknowledged. Raises
    RowFailed for a row that failed, Celery's Retry for one that is tried again later.
    """
    assignment = books.claim((batch_id, row_number))
    if isinstance(assignment, Refused):
        named = "row" if assignment.sheet_row is None else f"row {assignment.sheet_row}"
        log.info("%s of %s not run: %s", named, batch_id, assignment.why)
        return f"{named}: {assignment.why}"
    try:
        outcome = _outcome(assignment, analyzer, limits, books, doubts, texts)
    except Exception as error:
        outcome = _unexpected(assignment, error)
    except BaseException:  # the slot ends, not the row
        books.give_back(assignment)
        raise
    try:
        counted = books.settle(outcome)
    except ResultRefused as refusal:
        raise RowFailed(f"row {assignment.sheet_row}: {refusal}") from None
    if not counted:
        log.warning("%s: result dropped, another worker has taken the row over", assignment.name)
        return f"row {assignment.sheet_row}: taken over by another worker"
    return _reported(assignment.sheet_row, outcome)


def _outcome(
    assignment: Assignment,
    analyzer: Callable[[str], Analyzer],
    limits: Limits,
    books: Bookkeeper,
    doubts: Doubts,
    texts: Callable[[], Texts],
) -> Outcome:
    """Ask about the row and return what becomes of it, whatever its analyzer raises."""
    row, batch, clock = assignment.row, assignment.batch, assignment.clock
    try:
        question = _question(assignment, limits.soft_time_limit, texts)
        if refused := missing_documents.refusal(question):
            why, said = refused
            raise Permanent(why, said=said)
        answer = analyzer(batch.record.analyzer).answer(question)
        doubts.answered(row.key[0])
        return retry.after_answer(row, answer, _spent(answer.usage, batch), clock.seconds())
    except AnalysisError as error:
        failure = doubts.judged(row.key[0], error)
    except (SoftTimeLimitExceeded, MemoryError) as error:
        failure = Transient(
            f"interrupted while it ran ({type(error).__name__})",
            UNANSWERED if batch.kind.is_paid else None,  # as far as is known, a call was under way
        )
    except Exception as error:
        log.exception("%s ended unexpectedly", assignment.name)
        failure = Permanent(
            f"an unexpected {type(error).__name__} while it ran; the worker's log says where"
        )
    outcome = retry.after_failure(
        row,
        failure,
        _spent(failure.usage, batch),
        clock.seconds(),
        limits.retries,
    )
    if isinstance(failure, Misconfigured):
        books.stop_batch(row.key[0], str(failure))
        log.error("batch %s stopped: %s; rowfleet progress says more", row.key[0], failure.reason)
    return outcome


def _unexpected(assignment: Assignment, error: Exception) -> Outcome:
    """Return the end of a row for which this program itself is not right."""
    row = assignment.row
    log.exception("%s ended unexpectedly", assignment.name)
    why = f"an unexpected {type(error).__name__} at its end; the worker's log says where"
    return Outcome(row.key, row.attempts, RowStatus.FAILED, error=why, brief=why)


def _reported(sheet_row: int, outcome: Outcome) -> str:
    named = f"row {sheet_row}"
    if outcome.status == RowStatus.FAILED:
        raise RowFailed(f"{named}: {outcome.brief}")
    if outcome.status == RowStatus.PENDING and outcome.counts:
        raise Retry(f"{named}: {outcome.brief}", when=outcome.delay)
    if outcome.status == RowStatus.PENDING:
        return f"{named}: batch stopped" if outcome.error else f"{named}: given back"
    return f"{named}: {RowStatus.DONE.value}"


def _question(assignment: Assignment, time_limit: float, texts: Callable[[], Texts]) -> Question:
    record = assignment.batch.record
    row = assignment.row
    return Question(
        recipe=assignment.batch.recipe,
        model=record.model,
        row_number=record.sheet_row(row.key[1]),
        cells=cells.sent(record.columns, row.cells),
        shown=cells.shown(record.columns, row.cells),
        duplicate_of=[record.sheet_row(number) for number in assignment.duplicate_of],
        time_limit=time_limit,
        clock=assignment.clock,
        documents=texts().of(assignment.documents) if assignment.documents else (),
    )


def _spent(usage: Usage, batch: BatchInfo) -> Spent:
    return spending.spent(
        batch.kind,
        usage,
        model=batch.record.model,
        service_tier=batch.recipe.options.service_tier,
        price=batch.price,
    )
