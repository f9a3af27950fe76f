"""Files that a batch was read from, and finished sheets that were written of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.models.tables import Base


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
