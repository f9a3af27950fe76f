"""Every move of a row or a batch, as a named function over one connection.

    pending ──feed──▶ queued ──claim──▶ running ──settle──▶ done | failed | pending (retry)
       ▲                 │                 │
       └── put_back ─────┘◀── expire ──────┘           cancel, retry_failed: by a person

Each decides in one statement, whose WHERE says what must still hold, so that any number of
workers and submitters may call them at once. The caller owns the transaction; a tally follows its
rows in the same one. Times are the database's (see `clock`).

Where this says that a row goes back to pending, it ends as cancelled instead if its batch is
cancelled. A statement that began before the cancel committed does not know that yet: `sweep` finds
the rows that it moves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from zlib import crc32

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Boolean,
    Connection,
    Float,
    Integer,
    Numeric,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import aliased

from rowfleet.errors import InputError
from rowfleet.ledger import budget
from rowfleet.ledger.bulk import copy_rows
from rowfleet.ledger.clock import in_seconds, minute, now
from rowfleet.ledger.models import Batch, Json, Row, Tally
from rowfleet.masking import outside

#: A row by its batch and number.
Key = tuple[str, int]

#: Times a row's worker may vanish while it runs before the row counts as what kills it.
MAX_LOSSES = 3

#: Tallies of a batch are spread over this many rows a minute, so that processes rarely meet.
TALLY_SHARDS = 8

#: Rows that get another's answer in one transaction: some tenths of a second, so that leases are
#: renewed in time whatever a sheet repeats.
MOST_FOLLOWERS = 5_000

#: Characters of a row's or a batch's reason, at most.
MOST_REASON = 1_000

#: Rows that a person's command, and what finishes it, moves in one transaction: some tens of
#: milliseconds.
ROWS_AT_ONCE = 2_000

#: Keys in one IN list: PostgreSQL takes 65,535 parameters, and a row takes two.
_KEYS_AT_ONCE = 5_000

_ACTIVE = ("loading", "running")
#: States of a batch that waits for a person to let it go on.
_WAITING = ("sampled", "budget_exhausted")


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What is recorded of a batch before its rows."""

    id: str
    source: str
    content_hash: str
    file_hash: str
    sheet: str
    start_row: int
    num_rows: int | None
    header: Sequence[str]
    formats: Sequence[str]
    widths: Sequence[float] | None
    recipe: Mapping[str, Any]
    columns: Mapping[str, int]
    model: str
    analyzer: str
    queue: str
    urgent: bool = False
    #: The model's price in dollars per million tokens (input, cached, output) if a user gave one.
    price: Mapping[str, float | None] | None = None
    #: Dollars its calls may cost.
    max_cost: float | None = None
    #: The rows to run at first, until somebody lets the rest go on.
    sample: Sequence[int] | None = None
    dedupe: bool = False
    tier: str = "workers"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that now is its claimer's to run."""

    key: Key
    cells: Sequence[Any]
    identity: str | None
    attempts: int
    retries: int
    #: Times its worker has vanished.
    losses: int = 0

    @property
    def has_one_try_left(self) -> bool:
        """Whether it fails if its worker vanishes once more."""
        return self.losses == MAX_LOSSES - 1


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of one attempt used; ``cost_usd`` is None if that is not known.

    It is not without a price, nor if one of the answers does not say what it used.

    ``possibly_billed`` are calls that were sent and ended without an answer.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    possibly_billed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: a value the worker decides and `settle` writes down.

    ``status`` is where the row goes: ``done`` with ``output``, ``failed`` with ``error``, or
    ``pending`` to be tried again ``delay`` seconds from now. ``counts`` tells whether a try again
    counts as a retry; a row given back because its batch stopped does not. One that was not even
    ``begun`` has had no attempt. ``brief`` is what logs and events may name of ``error``, which may
    quote the row or its answer.
    """

    key: Key
    attempts: int
    status: Literal["done", "failed", "pending"]
    output: Mapping[str, Any] | None = None
    error: str | None = None
    brief: str | None = None
    delay: float = 0
    counts: bool = True
    begun: bool = True
    spent: Spent = field(default_factory=Spent)
    latency: float | None = None


#: Any constant; it names the lock that keeps two submissions apart.
_SUBMISSION_LOCK = 0x5375626D69742121


def submit_alone(connection: Connection) -> None:
    """Let no other process look for a batch and make it until this transaction ends.

    Otherwise two that submit the same content under two names would both find none. SQLite's
    transactions are alone already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SUBMISSION_LOCK)))


def describe(connection: Connection, batch_id: str, recipe: Mapping[str, Any]) -> None:
    """Let the batch keep ``recipe``, which asks the same as the one it has."""
    connection.execute(update(Batch).where(Batch.id == batch_id).values(recipe=dict(recipe)))


def create_batch(connection: Connection, batch: NewBatch) -> bool:
    """Record a batch as ``loading``. Return False if its id is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {name: getattr(batch, name) for name in batch.__slots__}
    made = connection.execute(
        dialect.insert(Batch)
        .values(**values, status="loading", created_at=now())
        .on_conflict_do_nothing()
        .returning(Batch.id)
    )
    return made.first() is not None


def record_rows(
    connection: Connection,
    batch_id: str,
    rows: Sequence[tuple[int, Sequence[Any], str | None]],
    sent: Mapping[int, str] | None = None,
) -> int:
    """Record rows as (number, encoded cells, identity), in order; those there stay as they are.

    ``sent`` has a hash for each row if rows that are sent the same are to be answered once: the
    first with a hash is asked about, the others follow it. Return how many are new. Raises
    InputError if the batch was cancelled meanwhile.
    """
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    batch = update(Batch).where(Batch.id == batch_id, Batch.status != "cancelled")
    # Holds the batch, so that it can't be cancelled between this and the rows, and that nobody else
    # records rows of it.
    if not connection.execute(batch.values(total=Batch.total)).rowcount:
        raise InputError(f"batch {batch_id} was cancelled while its rows were being recorded")
    first = _first_sent(connection, batch_id, sent) if sent else {}
    new = []
    for number, cells, identity in rows:
        values = {"batch_id": batch_id, "number": number, "cells": cells, "identity": identity}
        if sent:
            leader = first[sent[number]]
            values["sent"] = sent[number] if leader == number else None
            values["same_as"] = None if leader == number else leader
        new.append(values)
    if _any_between(connection, batch_id, rows[0][0], rows[-1][0]):
        # Another submitter was here, or this one, whose commit was never confirmed.
        again = dialect.insert(Row).on_conflict_do_nothing(index_elements=["batch_id", "number"])
        made = len(connection.execute(again.returning(Row.number), new).all())
    else:
        if connection.dialect.name == "postgresql":
            copy_rows(connection, new)
        else:
            connection.execute(insert(Row), new)
        made = len(new)
    connection.execute(batch.values(total=Batch.total + made))
    return made


def _any_between(connection: Connection, batch_id: str, first: int, last: int) -> bool:
    found = select(Row.number).where(Row.batch_id == batch_id, Row.number.between(first, last))
    return connection.execute(found.limit(1)).first() is not None


def _first_sent(connection: Connection, batch_id: str, sent: Mapping[int, str]) -> dict[str, int]:
    """Return for each hash the first row with it, recorded or among these."""
    first = {hashed: number for number, hashed in sorted(sent.items(), reverse=True)}
    recorded = connection.execute(
        select(Row.sent, Row.number).where(Row.batch_id == batch_id, Row.sent.in_(list(first)))
    )
    return first | {row.sent: row.number for row in recorded}


def finish_loading(connection: Connection, batch_id: str) -> None:
    """Say that every row of the batch is recorded.

    A row of its sample that follows another gives its place to that: it never runs itself.
    """
    values: dict[str, Any] = {"status": "running"}
    sample = connection.execute(
        select(Batch.sample).where(Batch.id == batch_id, Batch.dedupe)
    ).scalar()
    if sample is not None:
        leaders = connection.execute(
            select(func.coalesce(Row.same_as, Row.number)).where(
                Row.batch_id == batch_id, Row.number.in_(sample)
            )
        )
        values["sample"] = sorted(set(leaders.scalars()))
    connection.execute(
        update(Batch).where(Batch.id == batch_id, Batch.status == "loading").values(**values)
    )


def feed(connection: Connection, batch_id: str, limit: int) -> list[int]:
    """Move up to ``limit`` due rows, lowest numbers first, from pending to queued.

    Of a batch with a sample only that is fed, and never more than the batch's budget admits.
    Return their numbers in order. The caller sends their messages after the commit: a crash in
    between leaves queued rows without a message, which `put_back` finds.
    """
    terms = connection.execute(
        select(Batch.max_cost, Batch.sample).where(Batch.id == batch_id)
    ).first()
    max_cost, sample = (None, None) if terms is None else (terms.max_cost, terms.sample)
    if max_cost is not None:
        live = budget.in_flight(connection, batch_id, "queued", "running")
        money = budget.of_batch(connection, batch_id)
        limit = min(limit, money.admits() - live) if money is not None else limit
        if limit <= 0:
            return []
    due = _due(batch_id, limit, sample)
    fed = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(select(due.c.number)),
            Row.status == "pending",
            exists().where(
                Batch.id == batch_id, Batch.status.in_(_ACTIVE), Batch.tier == "workers"
            ),
        )
        .values(status="queued", queued_at=now(), due_at=None)
        .returning(Row.number)
    )
    return sorted(fed.scalars())


def _due(batch_id: str, limit: int, sample: Sequence[int] | None = None) -> CTE:
    return (
        select(Row.number)
        .where(
            Row.batch_id == batch_id,
            Row.status == "pending",
            Row.same_as.is_(None),
            or_(Row.due_at.is_(None), Row.due_at <= now()),
            *([] if sample is None else [Row.number.in_(sample)]),
        )
        .order_by(Row.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # A bare subquery PostgreSQL may run once per row, each time with other rows locked.
        .cte("due")
    )


def take(
    connection: Connection, batch_id: str, limit: int, *, claim: str, worker: str
) -> list[tuple[int, Sequence[Any]]]:
    """Move up to ``limit`` due rows, lowest numbers first, from pending to running at ``worker``.

    Without a lease: no worker can take them over, only who knows ``claim`` settles them or gives
    them back. Return their numbers and encoded cells in order.
    """
    due = _due(batch_id, limit)
    taken = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(select(due.c.number)),
            Row.status == "pending",
            exists().where(Batch.id == batch_id, Batch.status.in_(_ACTIVE)),
        )
        .values(
            status="running",
            attempts=Row.attempts + 1,
            claim=claim,
            worker=worker,
            started_at=now(),
            lease_until=None,
            due_at=None,
        )
        .returning(Row.number, Row.cells)
    )
    return sorted((row.number, row.cells) for row in taken)


def held(
    connection: Connection, batch_id: str, numbers: Sequence[int], *, claim: str
) -> dict[int, tuple[Claimed, str | None]]:
    """Return those of the rows that ``claim`` runs, each with what its last attempt ended with."""
    found: dict[int, tuple[Claimed, str | None]] = {}
    for part in _parts(numbers):
        for row in connection.execute(
            select(Row.number, Row.attempts, Row.retries, Row.error).where(
                Row.batch_id == batch_id,
                Row.number.in_(part),
                Row.status == "running",
                Row.claim == claim,
            )
        ):
            key = (batch_id, row.number)
            found[row.number] = (Claimed(key, (), None, row.attempts, row.retries), row.error)
    return found


def held_numbers(connection: Connection, batch_id: str, limit: int, *, claim: str) -> list[int]:
    """Return the numbers of up to ``limit`` rows that ``claim`` runs, in order."""
    rows = connection.execute(
        select(Row.number)
        .where(Row.batch_id == batch_id, Row.status == "running", Row.claim == claim)
        .order_by(Row.number)
        .limit(limit)
    )
    return list(rows.scalars())


def give_back(
    connection: Connection, batch_id: str, numbers: Sequence[int] | None = None, *, claim: str
) -> int:
    """Move rows that ``claim`` has and nobody has begun (all, or those numbered) to pending.

    The attempt does not count. In a cancelled batch they end as cancelled. Return how many.
    """
    which = [Row.batch_id == batch_id, Row.status == "running", Row.claim == claim]
    if numbers is not None:
        which.append(Row.number.in_(numbers))
    # Holds the batch, so that it can't be cancelled while its rows move.
    connection.execute(update(Batch).where(Batch.id == batch_id).values(total=Batch.total))
    moved = connection.execute(
        update(Row)
        .where(*which)
        .values(**_back(), attempts=Row.attempts - 1, claim=None)
        .returning(Row.batch_id, Row.status)
    ).all()
    _tally_cancelled(connection, claim, moved)
    return len(moved)


def put_back(connection: Connection, batch_id: str, numbers: Iterable[int], *, by: str) -> int:
    """Move queued rows whose message is gone back to pending. Return how many."""
    count = 0
    for part in _parts(sorted(numbers)):
        moved = connection.execute(
            update(Row)
            .where(Row.batch_id == batch_id, Row.number.in_(part), Row.status == "queued")
            .values(**_back(), queued_at=None)
            .returning(Row.batch_id, Row.status)
        ).all()
        _tally_cancelled(connection, by, moved)
        count += len(moved)
    return count


def _back() -> dict[str, Any]:
    """Return where a row goes that has not ended: back to pending, or to its batch's end."""
    cancelled = _is_cancelled()
    return {
        "status": case((cancelled, "cancelled"), else_="pending"),
        "finished_at": case((cancelled, now()), else_=None),
    }


def _is_cancelled() -> Any:
    return exists().where(Batch.id == Row.batch_id, Batch.status == "cancelled")


def _tally_cancelled(connection: Connection, by: str, moved: Iterable[Any]) -> None:
    """Add those of the moved rows (batch and status) to the tallies that ended as cancelled."""
    sums: dict[str, dict[str, float]] = {}
    for row in moved:
        if row.status == "cancelled":
            _add(sums, row.batch_id, cancelled=1)
    _tally(connection, by, sums)


def claim(
    connection: Connection,
    keys: Sequence[Key],
    *,
    holder: str,
    worker: str,
    lease: float,
    take_over: bool = True,
) -> dict[Key, Claimed]:
    """Give ``holder`` (a process) those of the rows it may run, for ``lease`` seconds.

    A row may be run if it waits, if its holder's lease has run out and ``take_over``, or if
    ``holder`` has it already (a claim whose commit was never confirmed). A row whose holders
    vanished MAX_LOSSES times fails here instead, with that as its reason. What the batch's budget
    does not pay for goes back to pending, and so does a row of a batch that does not run any more,
    if its holder's lease has run out: no other worker will hear of it.
    """
    terms = {"holder": holder, "node": worker, "lease": lease, "take_over": take_over}
    rows = list(connection.execute(_claiming(), {"keys": list(keys), **terms, "paid": [""]}))
    # Most rows are claimed by then. The others' batches may have a budget.
    got = {(row.batch_id, row.number) for row in rows}
    left = [key for key in keys if key not in got]
    if left and take_over:
        _lose(
            connection,
            holder,
            tuple_(Row.batch_id, Row.number).in_(left),
            Row.lease_until < now(),
            ~exists().where(Batch.id == Row.batch_id, Batch.status.in_(_ACTIVE)),
        )
    if left and (paid := _affordable(connection, left, holder)):
        batches = {batch_id for batch_id, _ in paid}
        again = {"keys": paid, **terms, "paid": sorted(batches)}
        rows += connection.execute(_claiming(), again)
    claimed: dict[Key, Claimed] = {}
    failed: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.status == "failed":
            _add(failed, row.batch_id, failed=1)
        else:
            key = (row.batch_id, row.number)
            claimed[key] = Claimed(
                key, row.cells, row.identity, row.attempts, row.retries, row.losses
            )
    _tally(connection, holder, failed)
    return claimed


@cache
def _claiming() -> Any:
    """Return the statement of a claim: of batches without a budget, and of those that are `paid`.

    To put a statement together takes longer than to send it, so those of every row are kept.
    """
    holder = bindparam("holder", type_=String)
    taken_over = and_(Row.status == "running", Row.claim != holder)
    poisoned = and_(taken_over, Row.losses + 1 >= MAX_LOSSES)
    paid = Batch.id.in_(bindparam("paid", expanding=True))
    run_out = and_(bindparam("take_over", type_=Boolean), Row.lease_until < now())
    return (
        update(Row)
        .where(
            tuple_(Row.batch_id, Row.number).in_(bindparam("keys", expanding=True)),
            or_(
                Row.status.in_(("pending", "queued")),
                and_(Row.status == "running", or_(run_out, Row.claim == holder)),
            ),
            Row.batch_id.in_(
                select(Batch.id).where(
                    Batch.status.in_(_ACTIVE), or_(Batch.max_cost.is_(None), paid)
                )
            ),
        )
        .values(
            status=case((poisoned, "failed"), else_="running"),
            error=case((poisoned, _poison_reason()), else_=None),
            finished_at=case((poisoned, now()), else_=None),
            losses=Row.losses + case((taken_over, 1), else_=0),
            attempts=Row.attempts + case((poisoned, 0), else_=1),
            claim=holder,
            worker=case((poisoned, Row.worker), else_=bindparam("node", type_=Text)),
            started_at=now(),
            lease_until=in_seconds(bindparam("lease", type_=Float)),
            due_at=None,
        )
        .returning(
            Row.batch_id,
            Row.number,
            Row.status,
            Row.cells,
            Row.identity,
            Row.attempts,
            Row.retries,
            Row.losses,
        )
    )


def _affordable(connection: Connection, keys: Sequence[Key], holder: str) -> list[Key]:
    """Return those of ``keys`` whose batch has a budget that pays for them; put the others back.

    Holds the batches that have a budget until the end of the transaction, so that two processes
    can't both take the last row it pays for. Not so firmly that a tally of theirs had to wait.
    """
    with_budget = connection.execute(
        select(Batch.id)
        .where(Batch.id.in_({batch_id for batch_id, _ in keys}), Batch.max_cost.is_not(None))
        .order_by(Batch.id)
        .with_for_update(key_share=True)
    ).scalars()
    paid: list[Key] = []
    for batch_id in with_budget.all():
        running = budget.in_flight(connection, batch_id, "running")
        money = budget.of_batch(connection, batch_id)
        assert money is not None
        room = max(0, money.admits() - running)
        of_batch = [key for key in keys if key[0] == batch_id]
        if len(of_batch) > room:
            unpaid = [number for _, number in of_batch[room:]]
            put_back(connection, batch_id, unpaid, by=holder)
        paid += of_batch[:room]
    return paid


def postpone(connection: Connection, key: Key, *, holder: str, delay: float) -> None:
    """Give back a row that ``holder`` has just claimed and not begun, for ``delay`` seconds."""
    batch_id, number = key
    moved = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number == number,
            Row.claim == holder,
            Row.status == "running",
        )
        .values(
            **_back(),
            attempts=Row.attempts - 1,
            lease_until=None,
            due_at=in_seconds(delay),
        )
        .returning(Row.batch_id, Row.status)
    ).all()
    _tally_cancelled(connection, holder, moved)


def renew(connection: Connection, keys: Sequence[Key], *, holder: str, lease: float) -> None:
    """Extend the leases of rows that ``holder`` still runs, to ``lease`` seconds from now.

    A row that another transaction holds is left out, so that the others do not wait for it.
    """
    for part in _parts(keys):
        mine = (
            select(Row.batch_id, Row.number)
            .where(
                tuple_(Row.batch_id, Row.number).in_(part),
                Row.claim == holder,
                Row.status == "running",
            )
            .with_for_update(skip_locked=True, key_share=True)
            # A bare subquery PostgreSQL may run once per row, each time with other rows locked.
            .cte("mine")
        )
        connection.execute(
            update(Row)
            .where(
                tuple_(Row.batch_id, Row.number).in_(select(mine.c.batch_id, mine.c.number)),
                Row.claim == holder,
                Row.status == "running",
            )
            .values(lease_until=in_seconds(lease))
        )


def try_to_write(connection: Connection) -> None:
    """Write without changing anything. Raises sqlalchemy's DBAPIError where a renewal would.

    PostgreSQL refuses even a change of no row if it only reads, or if the role may not change
    rows. SQLite has to put a page on the disk to find that it is full.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(update(Row).where(false()).values(lease_until=None))
    else:
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def settle(connection: Connection, outcomes: Iterable[Outcome], *, holder: str) -> set[Key]:
    """Write down how ``holder``'s attempts ended. Return the rows for which that counted.

    It counts while the row's last claim is this attempt's: a holder that comes back after another
    took its row over changes nothing. An answer is taken even if the row was meanwhile put back
    (its lease ran out, but nobody started on it again): it is paid for.
    """
    settled: set[Key] = set()
    ended: dict[str, list[int]] = {}
    sums: dict[str, dict[str, float]] = {}
    for part in _each_once(outcomes):
        for row in _settle_all(connection, list(part.values()), holder):
            key = (row.batch_id, row.number)
            settled.add(key)
            if row.status != "pending":
                _add(sums, row.batch_id, **{row.status: 1})
                if row.has_followers:
                    ended.setdefault(row.batch_id, []).append(row.number)
            _add_spent(sums, row.batch_id, part[key].spent)
    for batch_id, numbers in ended.items():
        _follow(connection, batch_id, sums, Row.same_as.in_(numbers))
    _tally(connection, holder, sums)
    return settled


def _each_once(outcomes: Iterable[Outcome]) -> list[dict[Key, Outcome]]:
    """Return the outcomes in as many parts as the most that a row has; it nearly always has one."""
    parts: list[dict[Key, Outcome]] = []
    for outcome in outcomes:
        part = next((part for part in parts if outcome.key not in part), None)
        if part is None:
            parts.append(part := {})
        part[outcome.key] = outcome
    return parts


def _add_spent(sums: dict[str, dict[str, float]], batch_id: str, spent: Spent) -> None:
    if spent.possibly_billed:
        _add(sums, batch_id, possibly_billed=spent.possibly_billed)
    if spent.calls:
        _add(
            sums,
            batch_id,
            calls=spent.calls,
            prompt_tokens=spent.prompt_tokens,
            cached_tokens=spent.cached_tokens,
            completion_tokens=spent.completion_tokens,
            reasoning_tokens=spent.reasoning_tokens,
            cost_usd=spent.cost_usd or 0,
            unpriced_calls=spent.calls if spent.cost_usd is None else 0,
            priced=0 if spent.cost_usd is None else 1,
            cost_squared=(spent.cost_usd or 0) ** 2,
        )


def settle_followers(connection: Connection, batch_id: str, *, by: str) -> int:
    """Give rows that follow an earlier one its end, if that has one. Return how many.

    Most have got it when that row was settled; this is for the rest, at most MOST_FOLLOWERS of it.
    """
    sums: dict[str, dict[str, float]] = {}
    count = _follow(connection, batch_id, sums)
    _tally(connection, by, sums)
    return count


def _follow(
    connection: Connection, batch_id: str, sums: dict[str, dict[str, float]], *which: Any
) -> int:
    leader = aliased(Row)
    ends = (
        select(Row.number, leader.status, leader.output, leader.error)
        .join(leader, and_(leader.batch_id == Row.batch_id, leader.number == Row.same_as))
        .where(
            Row.batch_id == batch_id,
            Row.status == "pending",
            Row.same_as.is_not(None),
            leader.status.in_(("done", "failed", "cancelled")),
            *which,
        )
        .limit(MOST_FOLLOWERS)
        .cte("ends")
    )
    moved = connection.execute(
        update(Row)
        .where(Row.batch_id == batch_id, Row.number == ends.c.number, Row.status == "pending")
        .values(status=ends.c.status, output=ends.c.output, error=ends.c.error, finished_at=now())
        .returning(Row.status)
    ).scalars()
    count = 0
    for status in moved:
        _add(sums, batch_id, **{status: 1})
        count += 1
    return count


#: What `settle` gives the database of an outcome.
_GIVEN: dict[str, Any] = {
    "batch_id": String(64),
    "number": Integer(),
    "attempts": Integer(),
    "status": String(10),
    "output": Text(),
    "error": Text(),
    "delay": Float(),
    "counts": Boolean(),
    "begun": Boolean(),
    "latency": Float(),
    "calls": Integer(),
    "prompt_tokens": BigInteger(),
    "cached_tokens": BigInteger(),
    "completion_tokens": BigInteger(),
    "reasoning_tokens": BigInteger(),
    "cost_usd": Numeric(16, 8, asdecimal=False),
    "possibly_billed": Integer(),
}


def _settle_all(connection: Connection, outcomes: Sequence[Outcome], holder: str) -> list[Any]:
    """Write outcomes of different rows down. Return batch, number and status of those that count.

    PostgreSQL takes them in one statement, as an array for each column.
    """
    if not outcomes:
        return []
    rows = [_given(outcome) for outcome in outcomes]
    if connection.dialect.name == "postgresql":
        columns = zip(*rows, strict=True)
        given: list[Any] = [dict(zip(_GIVEN, map(list, columns), strict=True))]
    else:
        given = [dict(zip(_GIVEN, row, strict=True)) for row in rows]
    statement = _settling(connection.dialect.name)
    found: list[Any] = []
    for values in given:
        named = {f"given_{name}": value for name, value in values.items()}
        found += connection.execute(statement, {**named, "holder": holder})
    return found


def _given(outcome: Outcome) -> tuple[Any, ...]:
    spent = outcome.spent
    return (
        *outcome.key,
        outcome.attempts,
        outcome.status,
        None if outcome.output is None else json.dumps(dict(outcome.output), allow_nan=False),
        _text(outcome.error),
        outcome.delay or None,
        outcome.counts,
        outcome.begun,
        outcome.latency,
        spent.calls,
        spent.prompt_tokens,
        spent.cached_tokens,
        spent.completion_tokens,
        spent.reasoning_tokens,
        spent.cost_usd,
        spent.possibly_billed,
    )


@cache
def _settling(dialect: str) -> Any:
    """Return the statement that writes outcomes down: all at once, or one for SQLite."""
    if dialect == "postgresql":
        arrays = [bindparam(f"given_{name}", type_=ARRAY(kind)) for name, kind in _GIVEN.items()]
        columns = [column(name, kind) for name, kind in _GIVEN.items()]
        given: Any = func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
    else:
        values = [bindparam(f"given_{name}", type_=kind) for name, kind in _GIVEN.items()]
        labels = [value.label(name) for value, name in zip(values, _GIVEN, strict=True)]
        given = select(*labels).subquery("given")
    of = given.c
    goes_on = of.status == "pending"
    cancelled = and_(goes_on, _is_cancelled())
    output = cast(of.output, Json) if dialect == "postgresql" else type_coerce(of.output, Json)
    return (
        update(Row)
        .where(
            Row.batch_id == of.batch_id,
            Row.number == of.number,
            Row.attempts == of.attempts,
            Row.claim == bindparam("holder", type_=String),
            or_(
                Row.status == "running",
                and_(~goes_on, Row.status.in_(("pending", "queued"))),
            ),
        )
        .values(
            status=case((cancelled, "cancelled"), else_=of.status),
            finished_at=case((and_(goes_on, ~cancelled), None), else_=now()),
            output=case((goes_on, Row.output), else_=output),
            error=of.error,
            due_at=case((of.delay.is_(None), None), else_=in_seconds(of.delay)),
            retries=Row.retries + case((and_(goes_on, of.counts), 1), else_=0),
            attempts=Row.attempts - case((of.begun, 0), else_=1),
            lease_until=None,
            latency=of.latency,
            calls=Row.calls + of.calls,
            prompt_tokens=Row.prompt_tokens + of.prompt_tokens,
            cached_tokens=Row.cached_tokens + of.cached_tokens,
            completion_tokens=Row.completion_tokens + of.completion_tokens,
            reasoning_tokens=Row.reasoning_tokens + of.reasoning_tokens,
            possibly_billed=Row.possibly_billed + of.possibly_billed,
            cost_usd=case(
                (and_(of.calls == 0, of.cost_usd.is_(None)), Row.cost_usd),
                # What one of its calls cost is not known, so neither is what the row cost.
                (and_(Row.calls > 0, Row.cost_usd.is_(None)), None),
                else_=func.coalesce(Row.cost_usd, 0) + of.cost_usd,
            ),
        )
        .returning(
            Row.batch_id,
            Row.number,
            Row.status,
            select(Batch.dedupe)
            .where(Batch.id == Row.batch_id)
            .scalar_subquery()
            .label("has_followers"),
        )
    )


def settled_before(connection: Connection, outcome: Outcome, *, holder: str) -> bool:
    """Tell whether ``settle`` has written ``outcome`` already.

    It has if a commit went through whose confirmation was lost with the connection.
    """
    batch_id, number = outcome.key
    return (
        connection.execute(
            select(literal(1)).where(
                Row.batch_id == batch_id,
                Row.number == number,
                Row.claim == holder,
                Row.attempts == outcome.attempts,
                Row.status != "running",
            )
        ).first()
        is not None
    )


def expire(connection: Connection, batch_id: str, *, grace: float, by: str) -> int:
    """Move running rows whose lease ran out over ``grace`` seconds ago back to pending.

    Their worker is gone. Within the grace their own message, delivered again, restarts them. A
    row that has lost MAX_LOSSES workers fails instead. Return how many were moved.
    """
    return _lose(connection, by, Row.batch_id == batch_id, Row.lease_until < in_seconds(-grace))


def give_up(connection: Connection, *, worker: str, by: str) -> int:
    """Move the rows that the dead ``worker`` (a Celery node name) ran back to pending.

    Only for a caller that knows the process to be gone, and so need not wait for its leases.
    """
    return _lose(connection, by, Row.worker == worker)


def _lose(connection: Connection, by: str, *which: Any) -> int:
    poisoned = Row.losses + 1 >= MAX_LOSSES
    back = _back()
    moved = connection.execute(
        update(Row)
        .where(Row.status == "running", *which)
        .values(
            status=case((poisoned, "failed"), else_=back["status"]),
            error=case((poisoned, _poison_reason()), else_=Row.error),
            finished_at=case((poisoned, now()), else_=back["finished_at"]),
            losses=Row.losses + 1,
            lease_until=None,
            due_at=None,
        )
        .returning(Row.batch_id, Row.status)
    ).all()
    ended: dict[str, dict[str, float]] = {}
    for row in moved:
        if row.status != "pending":
            _add(ended, row.batch_id, **{row.status: 1})
    _tally(connection, by, ended)
    return len(moved)


def stop(connection: Connection, batch_id: str, reason: str) -> bool:
    """Stop a batch because none of its rows can succeed. Return False if it does not run."""
    return _change(connection, batch_id, _ACTIVE, "stopped", reason=_text(reason))


def cancel(connection: Connection, batch_id: str, *, by: str, limit: int = ROWS_AT_ONCE) -> bool:
    """Cancel a batch: rows not yet started end cancelled, running ones finish.

    Workers drop what is queued from the moment this commits. At most ``limit`` rows end here,
    `sweep` ends the others. Return False if the batch had ended.
    """
    before = (*_ACTIVE, "stopped", *_WAITING)
    if not _change(connection, batch_id, before, "cancelled", finished_at=now(), reason=None):
        return False
    sweep(connection, batch_id, by=by, limit=limit)
    return True


def sweep(connection: Connection, batch_id: str, *, by: str, limit: int = ROWS_AT_ONCE) -> int:
    """Bring up to ``limit`` rows that wait in a batch that does not run where they belong.

    In a cancelled batch they end as cancelled. In one that waits for a person, those that are
    queued are pending again: workers drop their messages. Rows of a batch that runs stay. Return
    how many moved; the next call moves further ones. Rows that another transaction holds are left
    to a later one.
    """
    status = connection.execute(select(Batch.status).where(Batch.id == batch_id)).scalar()
    pending = Row.status == "pending"
    if status == "cancelled":
        # Each has an index of its own.
        kinds = [
            (Row.status == "queued", Row.number),
            (and_(pending, Row.same_as.is_(None)), Row.number),
            (and_(pending, Row.same_as.is_not(None)), Row.same_as),
        ]
    elif status == "stopped" or status in _WAITING:
        kinds = [(Row.status == "queued", Row.number)]
    else:
        return 0
    count = 0
    for kind, order in kinds:
        if count >= limit:
            break
        waiting = connection.execute(
            select(Row.number)
            .where(Row.batch_id == batch_id, kind)
            .order_by(order)
            .limit(limit - count)
            .with_for_update(skip_locked=True)
        )
        # As a list: before PostgreSQL has counted the rows of a new batch, it takes them for few,
        # and compares each with each row of a subquery.
        numbers = waiting.scalars().all()
        if not numbers:
            continue
        count += connection.execute(
            update(Row)
            .where(
                Row.batch_id == batch_id,
                Row.number.in_(numbers),
                kind,
                # A batch that goes on by now keeps its rows.
                exists().where(Batch.id == batch_id, Batch.status == status),
            )
            .values(
                {"status": "cancelled", "finished_at": now(), "due_at": None}
                if status == "cancelled"
                else {"status": "pending", "queued_at": None}
            )
        ).rowcount
    if status == "cancelled" and count:
        _tally(connection, by, {batch_id: {"cancelled": count}})
    return count


def reopen(connection: Connection, batch_id: str) -> bool:
    """Let a stopped batch go on, as one whose rows may not all be recorded yet.

    Return False if it was not stopped. Rows that a worker gave back are pending; those it dropped
    from the queue are found queued without a message.
    """
    return _change(connection, batch_id, ("stopped",), "loading", reason=None)


def end_sample(connection: Connection, batch_id: str) -> None:
    """Let the rows run that are not in the batch's sample, too, if it has one."""
    connection.execute(update(Batch).where(Batch.id == batch_id).values(sample=None))
    _change(connection, batch_id, ("sampled",), "running")


def set_budget(connection: Connection, batch_id: str, max_cost: float | None) -> None:
    """Let the batch's calls cost ``max_cost`` dollars from its beginning on; None: any amount.

    One whose budget was spent goes on, until that turns out to be so again.
    """
    connection.execute(update(Batch).where(Batch.id == batch_id).values(max_cost=max_cost))
    _change(connection, batch_id, ("budget_exhausted",), "running", reason=None)


def move_queue(
    connection: Connection,
    batch_id: str,
    queue: str,
    *,
    urgent: bool | None = None,
    before: str | None = None,
) -> None:
    """Let the batch be fed to another queue, or to the other list of it, from now on.

    ``urgent``: None leaves it as it is. ``before``: nothing moves if the batch has another queue.
    """
    changed = update(Batch).where(Batch.id == batch_id)
    if before is not None:
        changed = changed.where(Batch.queue == before)
    values: dict[str, Any] = {"queue": queue}
    if urgent is not None:
        values["urgent"] = urgent
    connection.execute(changed.values(values))


def retry_failed(
    connection: Connection,
    batch_id: str,
    numbers: Sequence[int] | None,
    *,
    by: str,
    after: int | None = None,
    limit: int = ROWS_AT_ONCE,
) -> list[int]:
    """Move failed rows (all, or those numbered) back to pending, with all their tries again.

    The batch runs again. At most ``limit`` rows move, in order; go on ``after`` the last of them
    until fewer do. Return the numbers of the rows moved: rows that are answered together are tried
    again together. A batch that was cancelled since the first call stays so, and keeps the rest.
    """
    # Holds the batch, so that it can't be finished or cancelled while its rows move.
    status = _hold(connection, batch_id)
    if status is None or (status == "cancelled" and after is not None):
        return []
    which = [Row.batch_id == batch_id, Row.status == "failed"]
    if after is not None:
        which.append(Row.number > after)
    if numbers is not None:
        asked = select(func.coalesce(Row.same_as, Row.number)).where(
            Row.batch_id == batch_id, Row.number.in_(numbers)
        )
        which.append(func.coalesce(Row.same_as, Row.number).in_(asked))
    # In this order no row goes before the one it follows, whose end it would get again at once.
    failed = connection.execute(select(Row.number).where(*which).order_by(Row.number).limit(limit))
    moved = connection.execute(
        update(Row)
        .where(
            Row.batch_id == batch_id,
            Row.number.in_(failed.scalars().all()),
            Row.status == "failed",
        )
        .values(status="pending", retries=0, losses=0, due_at=None, finished_at=None, error=None)
        .returning(Row.number)
    )
    again = sorted(moved.scalars())
    if again:
        _change(
            connection,
            batch_id,
            ("finished", "cancelled", "sampled"),
            "running",
            reason=None,
            finished_at=None,
        )
        _tally(connection, by, {batch_id: {"failed": -len(again)}})
    return again


def _hold(connection: Connection, batch_id: str) -> str | None:
    """Return the batch's status, and let no other transaction change it until this one ends.

    Later reads of this transaction see all that was committed under an earlier hold. Uses a weaker
    lock, so that tallies of the batch are not blocked.
    """
    status: str | None = connection.execute(
        select(Batch.status).where(Batch.id == batch_id).with_for_update(key_share=True)
    ).scalar()
    return status


def finish_batch(connection: Connection, batch_id: str) -> bool:
    """Mark a running batch finished if all its rows have ended. Return whether it did.

    One whose budget is spent, too: its last rows may have run then.
    """
    before = ("running", "budget_exhausted")
    pending = and_(Row.batch_id == batch_id, Row.status == "pending")
    unfinished = or_(
        # Apart, since each has an index of its own.
        exists().where(pending, Row.same_as.is_(None)),
        exists().where(pending, Row.same_as.is_not(None)),
        exists().where(Row.batch_id == batch_id, Row.status.in_(("queued", "running"))),
    )
    over = select(literal(1)).where(Batch.id == batch_id, Batch.status.in_(before), ~unfinished)
    # Before it is held, since it mostly is not over.
    if connection.execute(over).first() is None or _hold(connection, batch_id) not in before:
        return False
    return _change(
        connection, batch_id, before, "finished", ~unfinished, finished_at=now(), reason=None
    )


def finish_sample(connection: Connection, batch_id: str) -> bool:
    """Mark a running batch sampled if it has a sample and that has ended. Return whether it did."""
    sampled = select(Batch.sample).where(Batch.id == batch_id, Batch.status == "running")
    if connection.execute(sampled).scalar() is None or _hold(connection, batch_id) != "running":
        return False
    sample = connection.execute(sampled).scalar()  # a person may have ended it meanwhile
    if sample is None:
        return False
    unfinished = exists().where(
        Row.batch_id == batch_id,
        Row.number.in_(sample),
        Row.status.in_(("pending", "queued", "running")),
    )
    return _change(connection, batch_id, ("running",), "sampled", ~unfinished)


def exhaust(connection: Connection, batch_id: str, *, by: str) -> bool:
    """Mark a running batch `budget_exhausted` if its budget pays for no further row.

    While rows run whose cost is set aside, it may still turn out to. At most ROWS_AT_ONCE rows
    leave the queue here, `sweep` takes the others. Return whether it did.
    """
    if _reason_to_exhaust(connection, batch_id) is None or _hold(connection, batch_id) != "running":
        return False
    reason = _reason_to_exhaust(connection, batch_id)  # a person may have raised it meanwhile
    if reason is None:
        return False
    _change(connection, batch_id, ("running",), "budget_exhausted", reason=reason)
    sweep(connection, batch_id, by=by)
    return True


def _reason_to_exhaust(connection: Connection, batch_id: str) -> str | None:
    running = budget.in_flight(connection, batch_id, "running")
    money = budget.of_batch(connection, batch_id)
    if money is None or money.admits() or (running and not money.is_spent):
        return None
    return money.reason()


def _change(
    connection: Connection,
    batch_id: str,
    before: Sequence[str],
    after: str,
    *conditions: Any,
    **values: Any,
) -> bool:
    changed = connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.status.in_(before), *conditions)
        .values(status=after, **values)
    )
    return changed.rowcount == 1


def _poison_reason() -> Any:
    return literal(f"its worker vanished {MAX_LOSSES} times while it ran this row", Text)


def _text(value: str | None) -> str | None:
    """Return a reason as the ledger keeps it: masked, bounded, and without control characters.

    PostgreSQL's text can't hold NUL.
    """
    return None if value is None else outside(value, MOST_REASON)


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), _KEYS_AT_ONCE):
        yield items[start : start + _KEYS_AT_ONCE]


def _add(sums: dict[str, dict[str, float]], batch_id: str, **amounts: float) -> None:
    batch = sums.setdefault(batch_id, {})
    for name, amount in amounts.items():
        batch[name] = batch.get(name, 0) + amount


def _tally(connection: Connection, holder: str, sums: Mapping[str, Mapping[str, float]]) -> None:
    shard = crc32(holder.encode()) % TALLY_SHARDS
    for batch_id in sorted(sums):  # in one order, so that two writers can't wait for each other
        amounts = {**_NOTHING, **sums[batch_id]}
        connection.execute(
            _tallying(connection.dialect.name), {"batch_id": batch_id, "shard": shard, **amounts}
        )


_NOTHING = {column.name: 0 for column in Tally.__table__.columns if not column.primary_key}


@cache
def _tallying(dialect: str) -> Any:
    insert_into = (postgresql if dialect == "postgresql" else sqlite).insert
    new = insert_into(Tally).values(
        batch_id=bindparam("batch_id"),
        minute=minute(),
        shard=bindparam("shard"),
        **{name: bindparam(name) for name in _NOTHING},
    )
    return new.on_conflict_do_update(
        index_elements=["batch_id", "minute", "shard"],
        set_={name: getattr(Tally, name) + new.excluded[name] for name in _NOTHING},
    )
