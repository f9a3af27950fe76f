"""What people decided on rows that were answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.models.tables import Base, Json, is_one_of
from rowfleet.ledger.statuses import Verdict


class Decision(Base):
    """A person's decision on a row's answer. The newest one counts.

    A decision is added and never changed or removed, so the table is the history of a review.
    What the model answered stays in the row; the values of a decided row are those of `after`.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["batch_id", "number"], ["rows.batch_id", "rows.number"], ondelete="CASCADE"
        ),
        CheckConstraint(is_one_of(Verdict, "verdict"), name="decisions_verdict"),
    )

    batch_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    #: Counted from 1 for each row.
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    verdict: Mapped[str] = mapped_column(String(8))
    #: The name that the person gave.
    reviewer: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[datetime] = mapped_column(Timestamp)
    #: The row's values before and after it; None: there were none, since it was rejected.
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: Reasons to review that the values after it still have, as `rows.review_reasons`.
    reasons: Mapped[list[dict[str, str]] | None] = mapped_column(Json)
    note: Mapped[str | None] = mapped_column(Text)
    #: SHA-256, in hex, of the file that it was read from.
    file_hash: Mapped[str] = mapped_column(String(64))
