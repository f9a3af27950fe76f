"""Batches, and the parts of them that the Batch API runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.models.tables import Base, Dollars, Json, is_one_of
from rowfleet.ledger.statuses import ACTIVE, BatchStatus, Tier

_ACTIVE = text(is_one_of(ACTIVE))


class Batch(Base):
    """One submitted sheet, or a range of it."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(is_one_of(BatchStatus), name="batches_status"),
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
    #: The folder of its documents: an absolute path, or a URI without credentials.
    documents: Mapped[str | None] = mapped_column(Text)
    #: The share of its last rows, from 0 to 1, that may fail or need review before it stops; None:
    #: any. And the minute since 1970 in which a person last let it go on: later rows count.
    max_failures: Mapped[float | None] = mapped_column(Float)
    failures_from: Mapped[int | None] = mapped_column(Integer)


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
