"""Rows reach their end, or another try."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
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
    func,
    literal,
    or_,
    select,
    type_coerce,
    update,
)

from rowfleet.answers import reasons
from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.models import Batch, Json, Row
from rowfleet.ledger.records import Key, Outcome, Spent
from rowfleet.ledger.statuses import ROW_UNCLAIMED, RowStatus
from rowfleet.ledger.transitions.breaker import trip
from rowfleet.ledger.transitions.followers import settle_followers_of
from rowfleet.ledger.transitions.sql import is_cancelled, reason_text
from rowfleet.ledger.transitions.tallies import add_to, ended_as, write_tallies


def settle(connection: Connection, outcomes: Iterable[Outcome], *, holder: str) -> set[Key]:
    """Write down how ``holder``'s attempts ended. Return the rows for which that counted.

    It counts while the row's last claim is this attempt's: a holder that comes back after another
    took its row over changes nothing. An answer is taken even if the row was meanwhile put back
    (its lease ran out, but no worker started on it again): it is paid for.
    """
    settled: set[Key] = set()
    ended: dict[str, list[int]] = {}
    sums: dict[str, dict[str, float]] = {}
    for part in _each_once(outcomes):
        for row in _settle_all(connection, list(part.values()), holder):
            key = (row.batch_id, row.number)
            settled.add(key)
            if row.status != RowStatus.PENDING:
                add_to(sums, row.batch_id, **ended_as(row))
                if row.has_followers:
                    ended.setdefault(row.batch_id, []).append(row.number)
            _add_spent(sums, row.batch_id, part[key].spent)
    for batch_id, numbers in ended.items():
        settle_followers_of(connection, batch_id, sums, Row.same_as.in_(numbers))
    write_tallies(connection, holder, sums)
    trip(connection, sums)
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
        add_to(sums, batch_id, possibly_billed=spent.possibly_billed)
    if spent.calls:
        add_to(
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
    "review": String(16),
    "review_reasons": Text(),
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
        reason_text(outcome.error),
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
        outcome.review,
        json.dumps(reasons.encode(outcome.reasons)) if outcome.reasons else None,
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
    goes_on = of.status == RowStatus.PENDING
    cancelled = and_(goes_on, is_cancelled())
    as_json = cast if dialect == "postgresql" else type_coerce
    return (
        update(Row)
        .where(
            Row.batch_id == of.batch_id,
            Row.number == of.number,
            Row.attempts == of.attempts,
            Row.claim == bindparam("holder", type_=String),
            or_(
                Row.status == RowStatus.RUNNING,
                and_(~goes_on, Row.status.in_(ROW_UNCLAIMED)),
            ),
        )
        .values(
            status=case((cancelled, RowStatus.CANCELLED), else_=of.status),
            finished_at=case((and_(goes_on, ~cancelled), None), else_=now()),
            output=case((goes_on, Row.output), else_=as_json(of.output, Json)),
            error=of.error,
            review=case((goes_on, Row.review), else_=of.review),
            review_reasons=case(
                (goes_on, Row.review_reasons), else_=as_json(of.review_reasons, Json)
            ),
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
            Row.review,
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
                Row.status != RowStatus.RUNNING,
            )
        ).first()
        is not None
    )
