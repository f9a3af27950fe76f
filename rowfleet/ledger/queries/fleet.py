"""Questions about the whole fleet: live batches, their feeding, and their workers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, or_, select

from rowfleet.ledger.clock import in_seconds, minute, now
from rowfleet.ledger.feed_records import LiveBatch, Standing
from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.ledger.statuses import ACTIVE, HELD, ROW_IN_FLIGHT, BatchStatus, RowStatus, Tier


def live_batches(connection: Connection, queue: str) -> list[LiveBatch]:
    """Return the batches that ``queue`` should be fed with, the oldest first.

    Those that go through the Batch API are not among them: no worker runs their rows.
    """
    rows = connection.execute(
        select(Batch.id, Batch.urgent)
        .where(
            Batch.queue == queue,
            Batch.status.in_(ACTIVE),
            Batch.tier == Tier.WORKERS,
        )
        .order_by(Batch.created_at, Batch.id)
    )
    return [LiveBatch(*row) for row in rows]


def may_be_fed() -> ColumnElement[bool]:
    """Return the condition that rows of a batch may begin now.

    A batch with an order waits until it is recorded whole: the row that goes first may be the last.
    """
    return and_(
        Batch.status.in_(ACTIVE), or_(Batch.order_by.is_(None), Batch.status != BatchStatus.LOADING)
    )


def unsettled_batches(connection: Connection, queue: str) -> list[str]:
    """Return the batches of ``queue`` that do not run and are not settled, the oldest first.

    Something of theirs is still to be done: rows are queued or run, rows of a cancelled batch
    wait, or all rows of one have ended whose budget is spent.
    """
    rows = connection.execute(
        select(Batch.id)
        .where(
            Batch.queue == queue,
            Batch.status.in_(HELD),
            Batch.tier == Tier.WORKERS,
            _is_unsettled(),
        )
        .order_by(Batch.created_at, Batch.id)
    )
    return list(rows.scalars())


def _is_unsettled() -> ColumnElement[bool]:
    # Apart, since each has an index of its own; scalars, so that PostgreSQL looks into that for
    # each batch and never collects all rows of the ledger first.
    of_batch = select(literal(1)).where(Row.batch_id == Batch.id).correlate(Batch).limit(1)
    pending = of_batch.where(Row.status == RowStatus.PENDING)
    live = of_batch.where(Row.status.in_(ROW_IN_FLIGHT))
    # Ordered as the indexes are: PostgreSQL would rather look for one row in the table itself.
    runs = live.order_by(Row.status).scalar_subquery()
    waits = pending.where(Row.same_as.is_(None)).order_by(Row.rank, Row.number).scalar_subquery()
    follows = pending.where(Row.same_as.is_not(None)).order_by(Row.same_as).scalar_subquery()
    unread = of_batch.where(Row.status == RowStatus.WAITING).order_by(Row.number).scalar_subquery()
    is_left = or_(waits.is_not(None), follows.is_not(None), unread.is_not(None))
    return or_(
        runs.is_not(None),
        and_(Batch.status == BatchStatus.CANCELLED, is_left),
        and_(Batch.status == BatchStatus.BUDGET_EXHAUSTED, ~is_left),
    )


def seconds_to_sweep(
    connection: Connection, batch_ids: Collection[str], grace: float
) -> float | None:
    """Return when rows of unsettled batches need a feeder, in seconds; None: never.

    That is ``grace`` seconds after the lease of one that runs is over, and now for all others.
    """
    if not batch_ids:
        return None
    clock = connection.execute(select(now())).scalar_one()
    rows = connection.execute(
        select(Row.batch_id, func.min(Row.lease_until))
        .where(Row.batch_id.in_(batch_ids), Row.status == RowStatus.RUNNING)
        .group_by(Row.batch_id)
    )
    leases = [lease for _, lease in rows if lease is not None]
    if len(leases) < len(batch_ids):
        return 0.0
    return float((min(leases) - clock).total_seconds()) + grace


def standings(connection: Connection, batch_ids: Collection[str]) -> list[Standing]:
    """Return how the batches stand, in the order in which they were submitted.

    Two statements for all. They look into an index a few times for each batch, and read more of it
    only past retries that are not due yet, and rows that are queued or run.
    """
    if not batch_ids:
        return []
    live = {
        (batch_id, status)
        for batch_id, status in connection.execute(
            select(Row.batch_id, Row.status)
            .where(Row.batch_id.in_(batch_ids), Row.status.in_(ROW_IN_FLIGHT))
            .distinct()
        )
    }
    of_batch = select(literal(1)).where(Row.batch_id == Batch.id).correlate(Batch).limit(1)
    pending = of_batch.where(Row.status == RowStatus.PENDING)
    first_due = (
        select(func.min(Row.due_at))
        .where(Row.batch_id == Batch.id, Row.status == RowStatus.PENDING, Row.due_at.is_not(None))
        .correlate(Batch)
        .scalar_subquery()
    )
    # Scalars: see `_is_unsettled`. Ordered as their indexes are, since PostgreSQL would rather look
    # for a single row in the table itself.
    fresh = pending.where(Row.same_as.is_(None), Row.due_at.is_(None))
    fresh = fresh.order_by(Row.rank, Row.number)
    followers = pending.where(Row.same_as.is_not(None)).order_by(Row.same_as)
    found = select(
        Batch.id,
        Batch.status,
        may_be_fed().label("may_be_fed"),
        Batch.sample.is_not(None).label("has_sample"),
        Batch.max_cost.is_not(None).label("has_budget"),
        fresh.scalar_subquery().label("fresh"),
        first_due.label("first_due"),
        followers.scalar_subquery().label("followers"),
    ).where(Batch.id.in_(batch_ids))
    clock = connection.execute(select(now())).scalar_one()
    rows = connection.execute(found.order_by(Batch.created_at, Batch.id))
    return [
        Standing(
            id=row.id,
            status=row.status,
            has_sample=bool(row.has_sample),
            has_budget=bool(row.has_budget),
            has_fresh=row.may_be_fed and row.fresh is not None,
            first_due=row.first_due if row.may_be_fed else None,
            is_due=row.may_be_fed and row.first_due is not None and row.first_due <= clock,
            has_followers=row.followers is not None,
            has_queued=(row.id, RowStatus.QUEUED) in live,
            has_running=(row.id, RowStatus.RUNNING) in live,
        )
        for row in rows
    ]


def seconds_to_next(
    connection: Connection, batch_ids: Collection[str], grace: float
) -> float | None:
    """Return the seconds until a row of the batches next needs a feeder; None: no row ever will.

    That is when a retry is due, and ``grace`` seconds after a lease ran out or a row was queued:
    rows whose worker or message is gone need a feeder then. Below 0: the feeder is late.
    """
    clock = connection.execute(select(now())).scalar_one()
    moments: list[datetime] = []
    live = []
    for batch in standings(connection, batch_ids):
        if batch.first_due is not None:
            moments.append(batch.first_due)
        if batch.has_fresh and not batch.has_sample:  # only a sample is fed, and it has been
            moments.append(clock)
        if batch.has_queued or batch.has_running:
            live.append(batch.id)
    if live:
        rows = connection.execute(
            select(Row.status, func.min(Row.lease_until), func.min(Row.queued_at))
            .where(Row.batch_id.in_(live), Row.status.in_(ROW_IN_FLIGHT))
            .group_by(Row.status)
        )
        for status, lease_until, queued_at in rows:
            first = lease_until if status == RowStatus.RUNNING else queued_at
            if first is not None:
                moments.append(first + timedelta(seconds=grace))
    return (min(moments) - clock).total_seconds() if moments else None


def is_any_leased(connection: Connection, queue: str) -> bool:
    """Tell whether a worker that is not known to be gone runs a row of a batch on ``queue``."""
    return (
        connection.execute(
            select(literal(1))
            .where(
                Row.batch_id.in_(
                    select(Batch.id).where(
                        Batch.queue == queue, Batch.status != BatchStatus.FINISHED
                    )
                ),
                Row.status == RowStatus.RUNNING,
                Row.lease_until > now(),
            )
            .limit(1)
        ).first()
        is not None
    )


def workers_on(connection: Connection, queue: str) -> list[str]:
    """Return the node names of workers, not known to be gone, that run rows of ``queue``."""
    names = connection.execute(
        select(Row.worker)
        .where(
            Row.batch_id.in_(
                select(Batch.id).where(Batch.queue == queue, Batch.status != BatchStatus.FINISHED)
            ),
            Row.status == RowStatus.RUNNING,
            Row.lease_until > now(),
        )
        .distinct()
    ).scalars()
    return sorted(name for name in names if name is not None)


def workers_with_rows(connection: Connection, prefix: str) -> list[str]:
    """Return the node names of workers that have running rows and whose name begins so."""
    names = connection.execute(
        select(Row.worker)
        .where(
            Row.batch_id.in_(select(Batch.id).where(Batch.status != BatchStatus.FINISHED)),
            Row.status == RowStatus.RUNNING,
            Row.worker.startswith(prefix, autoescape=True),
        )
        .distinct()
    ).scalars()
    return [name for name in names if name is not None]


def live_models(connection: Connection, queue: str) -> list[tuple[str, str]]:
    """Return the analyzers and models that the live batches of ``queue`` ask."""
    rows = connection.execute(
        select(Batch.analyzer, Batch.model)
        .where(Batch.queue == queue, Batch.status.in_(ACTIVE))
        .distinct()
    )
    return [(row.analyzer, row.model) for row in rows]


def is_idle(connection: Connection, batch_id: str, seconds: int) -> bool:
    """Tell whether a batch is older than ``seconds`` and none of its rows has ended since then."""
    ended = exists().where(Tally.batch_id == batch_id, Tally.minute >= minute() - seconds // 60)
    old = select(Batch.id).where(
        Batch.id == batch_id, Batch.created_at < in_seconds(-seconds), ~ended
    )
    return connection.execute(old).first() is not None
