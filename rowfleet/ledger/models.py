"""The ledger's tables: what each column means. What moves a row stands in `transitions`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.statuses import ACTIVE, ROW_IN_FLIGHT, BatchStatus, RowStatus, Tier

#: PostgreSQL's `json`, not `jsonb`: it keeps key order, and takes the NUL that a cell may hold.
Json = JSON(none_as_null=True)
#: Dollars, to a ten-thousandth of a cent: a row's share of a cheap model's price is below a cent.
Dollars = Numeric(16, 8, asdecimal=False)


def _is_one_of(statuses: Iterable[str]) -> str:
    listed = ", ".join(f"'{status}'" for status in statuses)
    return f"status IN ({listed})"


_ACTIVE = text(_is_one_of(ACTIVE))


class Base(DeclarativeBase):
    """Declarative base of the ledger's tables."""


class Batch(Base):
    """One submitted sheet, or a range of it."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(_is_one_of(BatchStatus), name="batches_status"),
        Index(
            "batches_live",
            "queue",
            postgresql_where=_ACTIVE,
            sqlite_where=_ACTIVE,
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: What the file was called when it was submitted; a path or a URI without credentials.
    source: Mapped[str] = mapped_column(Text)
    #: SHA-256 of sheet, range and recipe with the file's own hash; its beginning is part of the id.
    content_hash: Mapped[str] = mapped_column(String(64))
    file_hash: Mapped[str] = mapped_column(String(64))
    sheet: Mapped[str] = mapped_column(Text)
    start_row: Mapped[int] = mapped_column(Integer)
    #: None: to the end of the sheet.
    num_rows: Mapped[int | None] = mapped_column(Integer)
    #: The sheet's column headers, and each column's number format and width in characters.
    header: Mapped[list[str]] = mapped_column(Json)
    formats: Mapped[list[str]] = mapped_column(Json)
    widths: Mapped[list[float] | None] = mapped_column(Json)
    recipe: Mapped[dict[str, Any]] = mapped_column(Json)
    #: Sent column's name → its index in the header.
    columns: Mapped[dict[str, int]] = mapped_column(Json)
    model: Mapped[str] = mapped_column(Text)
    analyzer: Mapped[str] = mapped_column(String(32))
    #: The queue whose workers run this batch.
    queue: Mapped[str] = mapped_column(String(100))
    #: Whether its rows go before those of batches that are not.
    urgent: Mapped[bool] = mapped_column(server_default=false())
    status: Mapped[str] = mapped_column(String(16))
    #: Why it was stopped, in one sentence.
    reason: Mapped[str | None] = mapped_column(Text)
    #: Rows recorded so far; the sheet's whole count once status is no longer `loading`.
    total: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: The model's price where a user gave one: dollars per million input, cached, output tokens.
    price: Mapped[dict[str, float | None] | None] = mapped_column(Json)
    #: Dollars that its calls may cost; None: as much as they do.
    max_cost: Mapped[float | None] = mapped_column(Dollars)
    #: While only a sample of the rows is to run: their numbers; none yet while it is loading.
    sample: Mapped[list[int] | None] = mapped_column(Json)
    #: Whether rows that are sent the same are answered once.
    dedupe: Mapped[bool] = mapped_column(Boolean, server_default=false())
    #: The runner of its rows: the fleet's workers, or the API's own Batch API.
    tier: Mapped[str] = mapped_column(String(16), server_default=Tier.WORKERS.value)
    #: The process that follows its remote batches, and until when unless it says so again.
    follower: Mapped[str | None] = mapped_column(String(40))
    followed_until: Mapped[datetime | None] = mapped_column(Timestamp)
    #: The row of position 0 as a spreadsheet program numbers it; None: of an older version.
    first_row: Mapped[int | None] = mapped_column(Integer)
    #: Where the file was read: an absolute path, or a URI without credentials.
    origin: Mapped[str | None] = mapped_column(Text)
    #: The condition that its rows meet, in CEL, and the column that orders their feeding.
    where_expression: Mapped[str | None] = mapped_column(Text)
    order_by: Mapped[str | None] = mapped_column(Text)
    #: Whether rows that the sheet hides are taken (`include` or `skip`), and a row of totals below
    #: the data (`keep` or `skip`); None: of an older version, which kept it.
    hidden: Mapped[str] = mapped_column(String(8), server_default="include")
    totals: Mapped[str | None] = mapped_column(String(8))


_IS_PENDING = f"status = '{RowStatus.PENDING}'"
_LIVE = text(_is_one_of(ROW_IN_FLIGHT))
_WAITS = text(f"{_IS_PENDING} AND due_at IS NOT NULL")
_PENDING = text(f"{_IS_PENDING} AND same_as IS NULL")
_FOLLOWING = text(f"{_IS_PENDING} AND same_as IS NOT NULL")
_FAILED = text(f"status = '{RowStatus.FAILED}'")


class Row(Base):
    """One data row of a batch."""

    __tablename__ = "rows"
    __table_args__ = (
        CheckConstraint(_is_one_of(RowStatus), name="rows_status"),
        Index(
            "rows_pending",
            "batch_id",
            "rank",
            "number",
            postgresql_where=_PENDING,
            sqlite_where=_PENDING,
        ),
        Index("rows_due", "batch_id", "due_at", postgresql_where=_WAITS, sqlite_where=_WAITS),
        Index("rows_live", "batch_id", "status", postgresql_where=_LIVE, sqlite_where=_LIVE),
        Index("rows_failed", "batch_id", "number", postgresql_where=_FAILED, sqlite_where=_FAILED),
        Index(
            "rows_identity",
            "batch_id",
            "identity",
            "number",
            postgresql_where=text("identity IS NOT NULL"),
            sqlite_where=text("identity IS NOT NULL"),
        ),
        Index(
            "rows_following",
            "batch_id",
            "same_as",
            postgresql_where=_FOLLOWING,
            sqlite_where=_FOLLOWING,
        ),
        Index(
            "rows_sent",
            "batch_id",
            "sent",
            unique=True,
            postgresql_where=text("sent IS NOT NULL"),
            sqlite_where=text("sent IS NOT NULL"),
        ),
        # Two or three updates a row: room for them on the same page.
        {"postgresql_with": {"fillfactor": 80}},
    )

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    #: Counted from 0 below the header; blank rows of the sheet leave gaps.
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    #: All cells of the row, encoded by `rowfleet.cells`, in the header's order.
    cells: Mapped[list[Any]] = mapped_column(Json)
    #: Hash of the recipe's identity columns; rows that agree are duplicates.
    identity: Mapped[str | None] = mapped_column(String(32))
    #: What never changes stands before this: of a new version of a row on the same page PostgreSQL
    #: logs what is between the first and the last byte that differ, so it leaves the cells out.
    status: Mapped[str] = mapped_column(String(10), server_default=RowStatus.PENDING.value)
    #: Hash of the cells that are sent, of the first row with them, where the batch says `dedupe`.
    sent: Mapped[str | None] = mapped_column(String(32))
    #: The earlier row that is sent the same, whose answer this one gets; it never runs itself.
    same_as: Mapped[int | None] = mapped_column(Integer)
    #: Times a worker started on the row.
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Tries that ended in a transient error, since the row was last retried by hand.
    retries: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Times its worker vanished while it ran, since the row was last retried by hand.
    losses: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Not fed to the queue before this time (a retry's delay).
    due_at: Mapped[datetime | None] = mapped_column(Timestamp)
    queued_at: Mapped[datetime | None] = mapped_column(Timestamp)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: While it runs: after this time, unless renewed, the row counts as given up by its holder.
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    #: The claim that last held the row; only its holder may finish the row.
    claim: Mapped[str | None] = mapped_column(String(40))
    #: Celery's node name of the worker that last held the row.
    worker: Mapped[str | None] = mapped_column(Text)
    output: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Text)
    #: Requests to the API that were answered, over all attempts; what they used, and cost.
    calls: Mapped[int] = mapped_column(Integer, server_default="0")
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cached_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    #: None: the model's price is not known.
    cost_usd: Mapped[float | None] = mapped_column(Dollars)
    #: Requests, over all attempts, that were sent and ended without an answer: they may be billed.
    possibly_billed: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Seconds from claim to end of the last attempt.
    latency: Mapped[float | None] = mapped_column(Float)
    #: Its place in the order of feeding; None: rows of its batch are fed in the sheet's order.
    rank: Mapped[int | None] = mapped_column(Integer)


class RemoteBatch(Base):
    """A file of rows that the API's Batch API runs. Its rows have its token as their claim."""

    __tablename__ = "remote_batches"

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    #: Counted from 1; retries go into parts of their own.
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    #: Random; sent along as metadata, so that a remote batch is found whose id was not recorded.
    token: Mapped[str] = mapped_column(String(40), unique=True)
    #: How many rows it holds, and the first and last of their numbers.
    row_count: Mapped[int] = mapped_column(Integer, server_default="0")
    first_row: Mapped[int | None] = mapped_column(Integer)
    last_row: Mapped[int | None] = mapped_column(Integer)
    #: The API's names for the uploaded file and for the batch; None: not there yet.
    input_file_id: Mapped[str | None] = mapped_column(Text)
    remote_id: Mapped[str | None] = mapped_column(Text)
    #: What the API last said of it.
    remote_status: Mapped[str | None] = mapped_column(String(32))
    #: When the API was last asked to make it. Set and without a remote id: it may be there.
    asked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    #: When all its rows had been settled or given back.
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Tally(Base):
    """What happened to a batch's rows, summed up a minute, so that progress never counts rows.

    Several workers write at once, so each process writes to one of a few shards.
    """

    __tablename__ = "tallies"

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    #: Minutes since 1970, by the database's clock.
    minute: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    shard: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    cancelled: Mapped[int] = mapped_column(Integer, server_default="0")
    calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cached_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cost_usd: Mapped[float] = mapped_column(Dollars, server_default="0")
    #: Answered calls whose cost is not known.
    unpriced_calls: Mapped[int] = mapped_column(BigInteger, server_default="0")
    #: Requests that ended without an answer, and may be billed.
    possibly_billed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    #: Attempts that cost what `cost_usd` sums up, and the sum of the squares of what each cost.
    priced: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cost_squared: Mapped[float] = mapped_column(Float, server_default="0")


class Export(Base):
    """A finished sheet that was written of a batch, by the hash of its bytes."""

    __tablename__ = "exports"

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    #: In hex.
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    exported_at: Mapped[datetime] = mapped_column(Timestamp)
    #: The sheet and the row of position 0, if it is a copy of a file that the batch was read from;
    #: None: it is a new file, whose rows stand elsewhere.
    sheet: Mapped[str | None] = mapped_column(Text)
    first_row: Mapped[int | None] = mapped_column(Integer)


class EarlierFile(Base):
    """A file that a batch was read from before it was read from another with the same rows."""

    __tablename__ = "earlier_files"

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    #: As the batch's own fields of these names were.
    file_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(Text)
    origin: Mapped[str | None] = mapped_column(Text)
    sheet: Mapped[str] = mapped_column(Text)
    first_row: Mapped[int | None] = mapped_column(Integer)
    #: When the batch was read from another file.
    left_at: Mapped[datetime] = mapped_column(Timestamp)
