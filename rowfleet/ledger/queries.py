"""What the ledger can be asked. Nothing here changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, literal, or_, select

from rowfleet.errors import InputError
from rowfleet.ledger.clock import in_seconds, minute, now
from rowfleet.ledger.models import Batch, RemoteBatch, Row, Tally
from rowfleet.ledger.remote import ENDED, SETTLED

#: The rate is taken over this minute and the one before: steady, and soon right after a change.
_RATE_MINUTES = 1


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as it was recorded."""

    id: str
    source: str
    content_hash: str
    sheet: str
    header: Sequence[str]
    formats: Sequence[str]
    widths: Sequence[float] | None
    recipe: Mapping[str, Any]
    columns: Mapping[str, int]
    model: str
    analyzer: str
    queue: str
    status: str
    reason: str | None
    total: int
    created_at: datetime
    finished_at: datetime | None
    price: Mapping[str, float | None] | None
    max_cost: float | None
    sample: Sequence[int] | None
    dedupe: bool
    tier: str
    file_hash: str
    start_row: int
    num_rows: int | None


#: Rows with the latest retries that `why_retried` reads.
_RETRIES_READ = 200


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is. Field by field what ``rowfleet progress --json`` prints, if not said."""

    batch_id: str
    status: str
    total: int
    pending: int
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    #: Rows that ended a second, over the last one to two minutes.
    rows_per_second: float
    #: Seconds until the end at that rate; None where there is none.
    eta_seconds: float | None
    prompt_tokens: int
    completion_tokens: int
    #: Dollars for all answered calls; None if the price of some is not known.
    cost_usd: float | None
    #: Dollars that the calls may cost; None for as much as they do.
    max_cost_usd: float | None = None
    #: Why the batch was stopped, or that its budget is spent.
    reason: str | None = None
    #: Calls that were sent and ended without an answer: they may be billed, and are in no cost.
    possibly_billed_calls: int = 0
    #: Whether nothing runs its rows now, where a command has looked for that.
    is_idle: bool = False
    #: Why most rows that wait for another try do so. Not printed as JSON, which a log may keep: the
    #: API's words may quote a cell.
    retried_for: str | None = None

    @property
    def ended(self) -> int:
        """Rows in an end state."""
        return self.done + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that failed, and why."""

    row: int
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """A row with its encoded cells and what became of it."""

    number: int
    cells: Sequence[Any]
    status: str
    output: Mapping[str, Any] | None
    error: str | None
    #: The earlier row whose answer this is, since the same was sent for both.
    same_as: int | None = None


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row of a sample and what became of it; ``cost_usd`` is None if that is not known."""

    row: int
    status: str
    output: Mapping[str, Any] | None
    error: str | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class History:
    """What answered calls of earlier batches took."""

    calls: int
    completion_tokens: int
    cached_tokens: int
    prompt_tokens: int


#: Batches that a sentence names at most.
MOST_LISTED = 8

_RECORD = [getattr(Batch, name) for name in BatchRecord.__slots__]


def find_batch(connection: Connection, batch_id: str) -> BatchRecord | None:
    """Return the batch, None if there is none of that id."""
    row = connection.execute(select(*_RECORD).where(Batch.id == batch_id)).first()
    return None if row is None else BatchRecord(*row)


def get_batch(connection: Connection, batch_id: str) -> BatchRecord:
    """Return the batch. Raises InputError if there is none of that id."""
    batch = find_batch(connection, batch_id)
    if batch is None:
        raise InputError(f"there is no batch {batch_id!r} in this ledger; see `rowfleet batches`")
    return batch


def complete_id(connection: Connection, beginning: str) -> str:
    """Return the id of the one batch whose id is ``beginning`` or begins so.

    Raises InputError if several do, or none.
    """
    if find_batch(connection, beginning) is not None:
        return beginning
    found = connection.execute(
        select(Batch.id).where(Batch.id.startswith(beginning, autoescape=True)).order_by(Batch.id)
    ).scalars()
    ids = [batch_id for batch_id in found if batch_id.startswith(beginning)]  # SQLite folds case
    if not ids or not beginning:
        raise InputError(f"there is no batch {beginning!r} in this ledger; see `rowfleet batches`")
    if len(ids) > 1:
        listed = ", ".join(ids[:MOST_LISTED]) + (", …" if len(ids) > MOST_LISTED else "")
        raise InputError(f"{len(ids)} batches begin with {beginning!r}: {listed}; give more of it")
    return ids[0]


def batches(connection: Connection) -> list[BatchRecord]:
    """Return all batches, the newest first."""
    rows = connection.execute(select(*_RECORD).order_by(Batch.created_at.desc(), Batch.id))
    return [BatchRecord(*row) for row in rows]


def perhaps_same(connection: Connection, analyzer: str, total: int) -> list[BatchRecord]:
    """Return the batches that may have the same ``total`` rows, asked of the same analyzer.

    Cancelled ones come last, then the newest first. Of a batch that is not recorded whole the rows
    there are must not be more.
    """
    is_cancelled = case((Batch.status == "cancelled", 1), else_=0)
    rows = connection.execute(
        select(*_RECORD)
        .where(
            Batch.analyzer == analyzer,
            or_(
                Batch.total == total,
                and_(Batch.status.in_(("loading", "stopped", "cancelled")), Batch.total < total),
            ),
        )
        .order_by(is_cancelled, Batch.created_at.desc(), Batch.id)
    )
    return [BatchRecord(*row) for row in rows]


def recorded_cells(
    connection: Connection, batch_id: str, after: int, limit: int
) -> list[tuple[int, Sequence[Any]]]:
    """Return number and encoded cells of up to ``limit`` rows behind row ``after``, in order."""
    rows = connection.execute(
        select(Row.number, Row.cells)
        .where(Row.batch_id == batch_id, Row.number > after)
        .order_by(Row.number)
        .limit(limit)
    )
    return [(row.number, row.cells) for row in rows]


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """A batch that a queue should be fed with."""

    id: str
    urgent: bool


def live_batches(connection: Connection, queue: str) -> list[LiveBatch]:
    """Return the batches that ``queue`` should be fed with, the oldest first.

    Those that go through the Batch API are not among them: no worker runs their rows.
    """
    rows = connection.execute(
        select(Batch.id, Batch.urgent)
        .where(
            Batch.queue == queue,
            Batch.status.in_(("loading", "running")),
            Batch.tier == "workers",
        )
        .order_by(Batch.created_at, Batch.id)
    )
    return [LiveBatch(*row) for row in rows]


def unsettled_batches(connection: Connection, queue: str) -> list[str]:
    """Return the batches of ``queue`` that do not run and are not settled, the oldest first.

    Something of theirs is still to be done: rows are queued or run, rows of a cancelled batch
    wait, or all rows of one have ended whose budget is spent.
    """
    rows = connection.execute(
        select(Batch.id)
        .where(
            Batch.queue == queue,
            Batch.status.in_(("cancelled", "stopped", "sampled", "budget_exhausted")),
            Batch.tier == "workers",
            _is_unsettled(),
        )
        .order_by(Batch.created_at, Batch.id)
    )
    return list(rows.scalars())


def _is_unsettled() -> ColumnElement[bool]:
    # Apart, since each has an index of its own; scalars, so that PostgreSQL looks into that for
    # each batch and never collects all rows of the ledger first.
    of_batch = select(literal(1)).where(Row.batch_id == Batch.id).correlate(Batch).limit(1)
    pending = of_batch.where(Row.status == "pending")
    live = of_batch.where(Row.status.in_(("queued", "running")))
    # Ordered as the indexes are: PostgreSQL would rather look for one row in the table itself.
    runs = live.order_by(Row.status).scalar_subquery()
    waits = pending.where(Row.same_as.is_(None)).order_by(Row.number).scalar_subquery()
    follows = pending.where(Row.same_as.is_not(None)).order_by(Row.same_as).scalar_subquery()
    return or_(
        runs.is_not(None),
        and_(Batch.status == "cancelled", or_(waits.is_not(None), follows.is_not(None))),
        and_(Batch.status == "budget_exhausted", waits.is_(None), follows.is_(None)),
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
        .where(Row.batch_id.in_(batch_ids), Row.status == "running")
        .group_by(Row.batch_id)
    )
    leases = [lease for _, lease in rows if lease is not None]
    if len(leases) < len(batch_ids):
        return 0.0
    return float((min(leases) - clock).total_seconds()) + grace


def failed_among(connection: Connection, batch_id: str, numbers: Sequence[int]) -> set[int]:
    """Return those of the rows that have failed."""
    rows = connection.execute(
        select(Row.number).where(
            Row.batch_id == batch_id, Row.number.in_(numbers), Row.status == "failed"
        )
    )
    return set(rows.scalars())


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


def standings(connection: Connection, batch_ids: Collection[str]) -> list[Standing]:
    """Return how the batches stand, in the order in which they were submitted.

    Two statements for all. They look into an index a few times for each batch, and read more of it
    only past retries that are not due yet, and what is queued or runs.
    """
    if not batch_ids:
        return []
    live = {
        (batch_id, status)
        for batch_id, status in connection.execute(
            select(Row.batch_id, Row.status)
            .where(Row.batch_id.in_(batch_ids), Row.status.in_(("queued", "running")))
            .distinct()
        )
    }
    of_batch = select(literal(1)).where(Row.batch_id == Batch.id).correlate(Batch).limit(1)
    pending = of_batch.where(Row.status == "pending")
    first_due = (
        select(func.min(Row.due_at))
        .where(Row.batch_id == Batch.id, Row.status == "pending", Row.due_at.is_not(None))
        .correlate(Batch)
        .scalar_subquery()
    )
    # Scalars: see `_is_unsettled`. Ordered as their indexes are, since PostgreSQL would rather look
    # for a single row in the table itself.
    fresh = pending.where(Row.same_as.is_(None), Row.due_at.is_(None)).order_by(Row.number)
    followers = pending.where(Row.same_as.is_not(None)).order_by(Row.same_as)
    found = select(
        Batch.id,
        Batch.status,
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
            has_fresh=row.fresh is not None,
            first_due=row.first_due,
            is_due=row.first_due is not None and row.first_due <= clock,
            has_followers=row.followers is not None,
            has_queued=(row.id, "queued") in live,
            has_running=(row.id, "running") in live,
        )
        for row in rows
    ]


def seconds_to_next(
    connection: Connection, batch_ids: Collection[str], grace: float
) -> float | None:
    """Return when a row of the batches next needs somebody, in seconds; None: none ever will.

    That is when a retry is due, and ``grace`` seconds after a lease ran out or a row was queued:
    rows whose worker or message is gone need somebody then. Below 0: somebody is late.
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
            .where(Row.batch_id.in_(live), Row.status.in_(("queued", "running")))
            .group_by(Row.status)
        )
        for status, lease_until, queued_at in rows:
            first = lease_until if status == "running" else queued_at
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
                    select(Batch.id).where(Batch.queue == queue, Batch.status != "finished")
                ),
                Row.status == "running",
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
                select(Batch.id).where(Batch.queue == queue, Batch.status != "finished")
            ),
            Row.status == "running",
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
            Row.batch_id.in_(select(Batch.id).where(Batch.status != "finished")),
            Row.status == "running",
            Row.worker.startswith(prefix, autoescape=True),
        )
        .distinct()
    ).scalars()
    return [name for name in names if name is not None]


def called_off(connection: Connection, batch_ids: Collection[str]) -> set[str]:
    """Return those of the batches whose rows need not begin any more.

    Rows of a batch whose budget is spent are none: what was claimed is paid for.
    """
    rows = connection.execute(
        select(Batch.id).where(Batch.id.in_(batch_ids), Batch.status.in_(("stopped", "cancelled")))
    )
    return set(rows.scalars())


def live_models(connection: Connection, queue: str) -> list[tuple[str, str]]:
    """Return the analyzers and models that the live batches of ``queue`` ask."""
    rows = connection.execute(
        select(Batch.analyzer, Batch.model)
        .where(Batch.queue == queue, Batch.status.in_(("loading", "running")))
        .distinct()
    )
    return [(row.analyzer, row.model) for row in rows]


def last_recorded(connection: Connection, batch_id: str) -> int | None:
    """Return the highest row number recorded so far, None before the first."""
    return connection.execute(
        select(func.max(Row.number)).where(Row.batch_id == batch_id)
    ).scalar_one()


def queued_before(
    connection: Connection, batch_ids: Collection[str], seconds: float
) -> dict[str, list[int]]:
    """Return the rows of the batches that have been queued for more than ``seconds``."""
    found: dict[str, list[int]] = {}
    if batch_ids:
        rows = connection.execute(
            select(Row.batch_id, Row.number).where(
                Row.batch_id.in_(batch_ids),
                Row.status == "queued",
                Row.queued_at < in_seconds(-seconds),
            )
        )
        for batch_id, number in rows:
            found.setdefault(batch_id, []).append(number)
    return found


def expired(connection: Connection, batch_ids: Collection[str], grace: float) -> set[str]:
    """Return those of the batches that have rows whose lease ran out ``grace`` seconds ago."""
    if not batch_ids:
        return set()
    rows = connection.execute(
        select(Row.batch_id)
        .where(
            Row.batch_id.in_(batch_ids),
            Row.status == "running",
            Row.lease_until < in_seconds(-grace),
        )
        .distinct()
    )
    return set(rows.scalars())


def count_live(connection: Connection, batch_ids: Collection[str]) -> int:
    """Return how many rows of the batches are queued or run."""
    if not batch_ids:
        return 0
    return connection.execute(
        select(func.count()).where(
            Row.batch_id.in_(batch_ids), Row.status.in_(("queued", "running"))
        )
    ).scalar_one()


def live_counts(connection: Connection, batch_id: str) -> tuple[int, int]:
    """Return how many rows are queued, and how many running."""
    rows = connection.execute(
        select(Row.status, func.count())
        .where(Row.batch_id == batch_id, Row.status.in_(("queued", "running")))
        .group_by(Row.status)
    )
    counts = {row[0]: int(row[1]) for row in rows}
    return counts.get("queued", 0), counts.get("running", 0)


def with_the_api(connection: Connection, batch_id: str) -> int:
    """Return how many rows of the batch the Batch API has: those of its parts, as recorded.

    Rows are counted only in a part that is being settled. Those of a file that is still written
    are not with the API yet.
    """
    status = func.coalesce(RemoteBatch.remote_status, "")
    left = select(RemoteBatch).where(
        RemoteBatch.batch_id == batch_id, RemoteBatch.finished_at.is_(None), status != SETTLED
    )
    is_ended = status.in_(ENDED)
    whole = connection.execute(
        left.where(~is_ended).with_only_columns(func.coalesce(func.sum(RemoteBatch.row_count), 0))
    ).scalar_one()
    ending = connection.execute(
        left.where(is_ended).with_only_columns(
            RemoteBatch.token, RemoteBatch.first_row, RemoteBatch.last_row
        )
    ).all()
    settling = 0
    for token, first, last in ending:
        settling += connection.execute(
            select(func.count()).where(
                Row.batch_id == batch_id,
                Row.number.between(first, last),
                Row.status == "running",
                Row.claim == token,
            )
        ).scalar_one()
    return int(whole) + settling


def earlier_duplicates(
    connection: Connection, batch_id: str, identity: str, number: int, limit: int = 5
) -> list[int]:
    """Return up to ``limit`` rows before ``number`` whose identity columns hold the same."""
    rows = connection.execute(
        select(Row.number)
        .where(Row.batch_id == batch_id, Row.identity == identity, Row.number < number)
        .order_by(Row.number)
        .limit(limit)
    )
    return list(rows.scalars())


def row_state(connection: Connection, batch_id: str, number: int) -> tuple[str, str] | None:
    """Return the row's status and its batch's, None if there is no such row."""
    row = connection.execute(
        select(Row.status, Batch.status)
        .join(Batch, Batch.id == Row.batch_id)
        .where(Row.batch_id == batch_id, Row.number == number)
    ).first()
    return None if row is None else (row[0], row[1])


def progress(connection: Connection, batch_id: str) -> Progress:
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
                    Tally.prompt_tokens,
                    Tally.completion_tokens,
                    Tally.cost_usd,
                    Tally.unpriced_calls,
                    Tally.possibly_billed,
                )
            )
        ).where(Tally.batch_id == batch_id)
    ).one()
    done, failed, cancelled, prompt_tokens, completion_tokens, cost, unpriced, perhaps = tuple(sums)
    queued, running = (
        (0, with_the_api(connection, batch_id))
        if batch.tier == "batch"
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


def failed_rows(connection: Connection, batch_id: str, limit: int | None = None) -> list[FailedRow]:
    """Return the batch's failed rows in order. Raises InputError if there is no such batch."""
    get_batch(connection, batch_id)
    rows = connection.execute(
        select(Row.number, Row.attempts, Row.error)
        .where(Row.batch_id == batch_id, Row.status == "failed")
        .order_by(Row.number)
        .limit(limit)
    )
    return [FailedRow(number, attempts, error or "") for number, attempts, error in rows]


def why_retried(connection: Connection, batch_id: str) -> str | None:
    """Return the commonest reason of the latest retries that wait, None where none do.

    Reads the index of rows that are put off, and at most _RETRIES_READ of its rows. Errors count as
    the same that begin the same up to the words of the API; of those the latest is returned.
    """
    latest = connection.execute(
        select(Row.error)
        .where(Row.batch_id == batch_id, Row.status == "pending", Row.due_at.is_not(None))
        .order_by(Row.due_at.desc())
        .limit(_RETRIES_READ)
    ).scalars()
    errors = [error for error in latest if error]  # a row that only waits its turn has none
    kinds = Counter(error.partition(": ")[0] for error in errors)
    if not kinds:
        return None
    kind = kinds.most_common(1)[0][0]
    return next(error for error in errors if error.partition(": ")[0] == kind)


def rows_numbered(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> list[SampledRow]:
    """Return those rows in order, with what their calls cost."""
    rows = connection.execute(
        select(Row.number, Row.status, Row.output, Row.error, Row.cost_usd, Row.calls)
        .where(Row.batch_id == batch_id, Row.number.in_(numbers))
        .order_by(Row.number)
    )
    return [
        SampledRow(number, status, output, error, cost if calls else 0.0)
        for number, status, output, error, cost, calls in rows
    ]


def waiting_to_be_asked(connection: Connection, batch_id: str) -> int:
    """Return how many pending rows will be asked about, those that follow others left out."""
    return connection.execute(
        select(func.count()).where(
            Row.batch_id == batch_id, Row.status == "pending", Row.same_as.is_(None)
        )
    ).scalar_one()


def only_followers_are_left(connection: Connection, batch_id: str) -> bool:
    """Tell whether every row has ended but some that get the answer of another."""
    pending = and_(Row.batch_id == batch_id, Row.status == "pending")
    row = connection.execute(
        select(
            exists().where(pending, Row.same_as.is_not(None)),
            exists().where(pending, Row.same_as.is_(None)),
            exists().where(Row.batch_id == batch_id, Row.status.in_(("queued", "running"))),
        )
    ).one()
    return tuple(row) == (True, False, False)


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


def recorded_rows(
    connection: Connection, batch_id: str, chunk: int = 2_000
) -> Iterator[RecordedRow]:
    """Yield all rows of the batch in order, read ``chunk`` at a time."""
    after = -1
    while True:
        rows = connection.execute(
            select(Row.number, Row.cells, Row.status, Row.output, Row.error, Row.same_as)
            .where(Row.batch_id == batch_id, Row.number > after)
            .order_by(Row.number)
            .limit(chunk)
        ).all()
        for row in rows:
            yield RecordedRow(*row)
        if len(rows) < chunk:
            return
        after = rows[-1].number


def is_idle(connection: Connection, batch_id: str, seconds: int) -> bool:
    """Tell whether a batch is older than ``seconds`` and none of its rows has ended since then."""
    ended = exists().where(Tally.batch_id == batch_id, Tally.minute >= minute() - seconds // 60)
    old = select(Batch.id).where(
        Batch.id == batch_id, Batch.created_at < in_seconds(-seconds), ~ended
    )
    return connection.execute(old).first() is not None
