"""Rows, and the tallies of what happened to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.models.tables import Base, Dollars, Json, is_one_of
from rowfleet.ledger.statuses import ROW_IN_FLIGHT, RowReview, RowStatus

_IS_PENDING = f"status = '{RowStatus.PENDING}'"
_LIVE = text(is_one_of(ROW_IN_FLIGHT))
_NEEDS_DOCUMENTS = text(f"status = '{RowStatus.WAITING}'")
_WAITS = text(f"{_IS_PENDING} AND due_at IS NOT NULL")
_PENDING = text(f"{_IS_PENDING} AND same_as IS NULL")
_FOLLOWING = text(f"{_IS_PENDING} AND same_as IS NOT NULL")
_FAILED = text(f"status = '{RowStatus.FAILED}'")
_NEEDS_REVIEW = text(f"review = '{RowReview.NEEDS_REVIEW}'")


class Row(Base):
    """One data row of a batch."""

    __tablename__ = "rows"
    __table_args__ = (
        CheckConstraint(is_one_of(RowStatus), name="rows_status"),
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
        Index(
            "rows_waiting",
            "batch_id",
            "number",
            postgresql_where=_NEEDS_DOCUMENTS,
            sqlite_where=_NEEDS_DOCUMENTS,
        ),
        Index("rows_failed", "batch_id", "number", postgresql_where=_FAILED, sqlite_where=_FAILED),
        Index(
            "rows_needing_review",
            "batch_id",
            "number",
            postgresql_where=_NEEDS_REVIEW,
            sqlite_where=_NEEDS_REVIEW,
        ),
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
    #: Of a row that is done: a value of `RowReview`; None: a review has nothing to do with it.
    review: Mapped[str | None] = mapped_column(String(16))
    #: Reasons why a person should look, as `rowfleet.answers.reasons` encodes them. They stay when
    #: a person has decided.
    review_reasons: Mapped[list[dict[str, str]] | None] = mapped_column(Json)


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
    #: Of the rows that are done, those that need review; fewer as people decide.
    needs_review: Mapped[int] = mapped_column(Integer, server_default="0")
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
