"""The tallies: what a batch has spent and how many of its rows ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from rowfleet.ledger.clock import minute
from rowfleet.ledger.models import Tally
from rowfleet.ledger.statuses import RowReview, RowStatus

#: Tallies of a batch are spread over this many rows a minute, so that processes rarely meet.
TALLY_SHARDS = 8


def tally_cancelled(connection: Connection, by: str, moved: Iterable[Any]) -> None:
    """Add those of the moved rows (batch and status) to the tallies that ended as cancelled."""
    sums: dict[str, dict[str, float]] = {}
    for row in moved:
        if row.status == RowStatus.CANCELLED:
            add_to(sums, row.batch_id, cancelled=1)
    write_tallies(connection, by, sums)


def ended_as(row: Any) -> dict[str, float]:
    """Return what a row that has ended adds to the tallies, by its status and its review."""
    return {row.status: 1, "needs_review": 1 if row.review == RowReview.NEEDS_REVIEW else 0}


def add_to(sums: dict[str, dict[str, float]], batch_id: str, **amounts: float) -> None:
    """Add the amounts, by column of the tallies, to a batch's sums."""
    batch = sums.setdefault(batch_id, {})
    for name, amount in amounts.items():
        batch[name] = batch.get(name, 0) + amount


def write_tallies(
    connection: Connection, holder: str, sums: Mapping[str, Mapping[str, float]]
) -> None:
    """Add the sums of each batch to its tally of this minute, in the holder's shard."""
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
