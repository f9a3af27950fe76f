"""A batch and its rows come into the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from rowfleet.errors import InputError
from rowfleet.ledger.clock import now
from rowfleet.ledger.document_records import Named
from rowfleet.ledger.models import Batch, EarlierFile, Export, Row
from rowfleet.ledger.records import BatchRecord, NewBatch
from rowfleet.ledger.statuses import BatchStatus, RowStatus
from rowfleet.ledger.transitions.documents import naming

if TYPE_CHECKING:
    import psycopg


def copy_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, given by column and all with the same ones; none may be there yet.

    Part of the connection's transaction. Raises sqlalchemy's DBAPIError, as a statement does.
    """
    import psycopg

    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    statement = f"COPY rows ({', '.join(rows[0])}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([json.dumps(v) if name == "cells" else v for name, v in row.items()])
    except psycopg.Error as error:
        raise DBAPIError.instance(  # what SQLAlchemy itself raises for what passes through it
            statement,
            None,
            error,
            psycopg.Error,
            connection_invalidated=driver.closed,
            dialect=connection.dialect,
        ) from error


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


#: What says where a batch's rows stand in which file.
_PLACE = (
    "source",
    "origin",
    "file_hash",
    "sheet",
    "first_row",
    "start_row",
    "num_rows",
    "where_expression",
    "hidden",
    "totals",
)


def found_in(connection: Connection, batch: NewBatch, batch_id: str) -> None:
    """Let the batch ``batch_id`` be of the file that ``batch``, with the same rows, was read from.

    So the finished sheet is a copy of the file that was submitted last, with its row numbers. The
    file before it is noted as an earlier one.
    """
    names = ("file_hash", "source", "origin", "sheet", "first_row")
    found = select(*(getattr(Batch, name) for name in names)).where(Batch.id == batch_id)
    before = connection.execute(found).one()
    if (before.file_hash, before.origin) != (batch.file_hash, batch.origin):
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        values = {**before._mapping, "left_at": now()}
        noted = dialect.insert(EarlierFile).values(batch_id=batch_id, **values)
        connection.execute(
            noted.on_conflict_do_update(index_elements=["batch_id", "file_hash"], set_=values)
        )
    place = {name: getattr(batch, name) for name in _PLACE}
    connection.execute(update(Batch).where(Batch.id == batch_id).values(place))


def record_export(
    connection: Connection, batch_id: str, sha256: str, copied: BatchRecord | None = None
) -> None:
    """Record that a finished sheet with this hash, in hex, is of the batch.

    ``copied`` is the batch as it stands in the file of which the sheet is a copy; None: it is new.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    made = dialect.insert(Export).values(
        batch_id=batch_id,
        sha256=sha256,
        exported_at=now(),
        sheet=None if copied is None else copied.sheet,
        first_row=None if copied is None else copied.sheet_row(0),
    )
    connection.execute(made.on_conflict_do_nothing())


def create_batch(connection: Connection, batch: NewBatch) -> bool:
    """Record a batch as ``loading``. Return False if its id is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {name: getattr(batch, name) for name in batch.__slots__}
    made = connection.execute(
        dialect.insert(Batch)
        .values(**values, status=BatchStatus.LOADING, created_at=now())
        .on_conflict_do_nothing()
        .returning(Batch.id)
    )
    return made.first() is not None


def record_rows(
    connection: Connection,
    batch_id: str,
    rows: Sequence[tuple[int, Sequence[Any], str | None]],
    sent: Mapping[int, str] | None = None,
    ranks: Mapping[int, int] | None = None,
    named: Named | None = None,
) -> int:
    """Record rows as (number, encoded cells, identity), in order; those there stay as they are.

    ``sent`` has a hash for each row if rows that are sent the same are to be answered once: the
    first with a hash is asked about, the others follow it. ``ranks`` has the place of each row in
    the order of feeding, if that is not the sheet's. Rows wait for the documents that are ``named``
    for them. Return how many are new. Raises InputError if
    the batch was cancelled meanwhile.
    """
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    batch = update(Batch).where(Batch.id == batch_id, Batch.status != BatchStatus.CANCELLED)
    # Holds the batch: nothing cancels it before the rows, and no other process records rows of it.
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
        if ranks:
            values["rank"] = ranks[number]
        if named:
            follows = values.get("same_as") is not None
            waits = bool(named.rows.get(number)) and not follows
            values["status"] = RowStatus.WAITING if waits else RowStatus.PENDING
        new.append(values)
    again = _any_between(connection, batch_id, rows[0][0], rows[-1][0])
    if again:
        # Another submitter was here, or this one, whose commit was never confirmed.
        fresh = dialect.insert(Row).on_conflict_do_nothing(index_elements=["batch_id", "number"])
        made = len(connection.execute(fresh.returning(Row.number), new).all())
    else:
        if connection.dialect.name == "postgresql":
            copy_rows(connection, new)
        else:
            connection.execute(insert(Row), new)
        made = len(new)
    if named:
        naming.name(connection, batch_id, named, again=again)
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
    values: dict[str, Any] = {"status": BatchStatus.RUNNING}
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
        update(Batch)
        .where(Batch.id == batch_id, Batch.status == BatchStatus.LOADING)
        .values(**values)
    )
