"""How far a batch is, and how fast."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from rowfleet.ledger.clock import minute, now
from rowfleet.ledger.models import Batch, Tally
from rowfleet.ledger.queries.batch_records import get_batch
from rowfleet.ledger.queries.rows import live_counts, with_the_api
from rowfleet.ledger.records import BatchRecord, History, Progress
from rowfleet.ledger.statuses import Tier

#: The rate is taken over this minute and the one before: steady, and soon right after a change.
_RATE_MINUTES = 1


def progress_of(connection: Connection, batch_id: str) -> Progress:
    """Return how far the batch is. Raises InputError if there is none of that id.

    Reads the batch's tallies and its queued and running rows, whose number the window bounds; of
    one that goes through the Batch API, its parts. Its cost does not grow with the batch.
    """
    batch = get_batch(connection, batch_id)
    sums = connection.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (
                    Tally.done,
                    Tally.failed,
                    Tally.cancelled,
                    Tally.needs_review,
                    Tally.prompt_tokens,
                    Tally.completion_tokens,
                    Tally.cost_usd,
                    Tally.unpriced_calls,
                    Tally.possibly_billed,
                )
            )
        ).where(Tally.batch_id == batch_id)
    ).one()
    done, failed, cancelled, to_review = tuple(sums)[:4]
    prompt_tokens, completion_tokens, cost, unpriced, perhaps = tuple(sums)[4:]
    queued, running = (
        (0, with_the_api(connection, batch_id))
        if batch.tier == Tier.BATCH
        else live_counts(connection, batch_id)
    )
    # The parts are read one after the other while workers go on, so they may differ by a few rows.
    pending = max(0, batch.total - int(done + failed + cancelled) - queued - running)
    rate = _rate(connection, batch) if batch.finished_at is None else 0.0
    # Of a batch that runs a sample, only that is on its way.
    left = (
        pending + queued + running
        if batch.sample is None
        else max(0, len(batch.sample) - int(done + failed))
    )
    return Progress(
        batch_id=batch_id,
        status=batch.status,
        total=batch.total,
        pending=pending,
        queued=queued,
        running=running,
        done=int(done),
        failed=int(failed),
        cancelled=int(cancelled),
        rows_per_second=round(rate, 3),
        eta_seconds=None if not left or not rate else round(left / rate, 1),
        prompt_tokens=int(prompt_tokens),
        completion_tokens=int(completion_tokens),
        cost_usd=None if unpriced else round(float(cost), 6),
        max_cost_usd=batch.max_cost,
        reason=batch.reason,
        possibly_billed_calls=int(perhaps),
        needs_review=int(to_review),
    )


def _rate(connection: Connection, batch: BatchRecord) -> float:
    sums = connection.execute(
        select(
            func.coalesce(func.sum(Tally.done + Tally.failed), 0),
            minute(),
            now(),
        ).where(Tally.batch_id == batch.id, Tally.minute >= minute() - _RATE_MINUTES)
    ).one()
    ended, this_minute, clock = sums[0], sums[1], sums[2]
    if not ended:
        return 0.0
    since = max((this_minute - _RATE_MINUTES) * 60.0, batch.created_at.timestamp())
    return max(0.0, float(ended)) / max(1.0, clock.timestamp() - since)


def history(connection: Connection, recipe: str, model: str) -> History | None:
    """Return what all batches with a recipe of this name and this model took, None without any."""
    sums = connection.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (
                    Tally.calls,
                    Tally.completion_tokens,
                    Tally.cached_tokens,
                    Tally.prompt_tokens,
                )
            )
        )
        .join(Batch, Batch.id == Tally.batch_id)
        .where(Batch.model == model, Batch.recipe["name"].as_string() == recipe)
    ).one()
    found = History(*(int(value) for value in sums))
    return found if found.calls and found.completion_tokens else None
