"""Questions about batches and their records."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Connection, and_, case, exists, or_, select

from rowfleet.errors import InputError
from rowfleet.ledger.models import Batch, EarlierFile, Export
from rowfleet.ledger.records import (
    BatchRecord,
)
from rowfleet.ledger.statuses import CALLED_OFF, MAY_LACK_ROWS, BatchStatus

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


def has_exported(connection: Connection, batch_id: str, sha256: str) -> bool:
    """Tell whether a finished sheet with this hash, in hex, was written of the batch."""
    found = exists().where(Export.batch_id == batch_id, Export.sha256 == sha256)
    return connection.execute(select(found)).scalar_one()


def in_exported(connection: Connection, batch: BatchRecord, sha256: str) -> BatchRecord | None:
    """Return the batch as it stands in the finished sheet with this hash; None if it wrote none
    such, or a new file, whose rows stand elsewhere."""
    row = connection.execute(
        select(Export.sheet, Export.first_row).where(
            Export.batch_id == batch.id, Export.sha256 == sha256, Export.first_row.is_not(None)
        )
    ).first()
    return None if row is None else replace(batch, **row._mapping)


def in_each_file(connection: Connection, batch: BatchRecord) -> list[BatchRecord]:
    """Return the batch as it stands in each file that it was read from, the newest first."""
    names = ("file_hash", "source", "origin", "sheet", "first_row")
    earlier = connection.execute(
        select(*(getattr(EarlierFile, name) for name in names))
        .where(EarlierFile.batch_id == batch.id)
        .order_by(EarlierFile.left_at.desc())
    )
    return [batch, *(replace(batch, **row._mapping) for row in earlier)]


def perhaps_same(connection: Connection, analyzer: str, total: int) -> list[BatchRecord]:
    """Return the batches that may have the same ``total`` rows, asked of the same analyzer.

    Cancelled ones come last, then the newest first. Of a batch that is not recorded whole the rows
    there are must not be more.
    """
    is_cancelled = case((Batch.status == BatchStatus.CANCELLED, 1), else_=0)
    rows = connection.execute(
        select(*_RECORD)
        .where(
            Batch.analyzer == analyzer,
            or_(
                Batch.total == total,
                and_(Batch.status.in_(MAY_LACK_ROWS), Batch.total < total),
            ),
        )
        .order_by(is_cancelled, Batch.created_at.desc(), Batch.id)
    )
    return [BatchRecord(*row) for row in rows]


def stopped_or_cancelled(connection: Connection, batch_ids: Collection[str]) -> set[str]:
    """Return those of the batches whose rows need not begin any more.

    Rows of a batch whose budget is spent are none: claimed rows are paid for.
    """
    rows = connection.execute(
        select(Batch.id).where(Batch.id.in_(batch_ids), Batch.status.in_(CALLED_OFF))
    )
    return set(rows.scalars())


#: Batches that a sentence names at most.
MOST_LISTED = 8
