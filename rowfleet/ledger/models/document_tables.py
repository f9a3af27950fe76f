"""The ledger's tables of documents: what each column means."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from rowfleet.ledger.clock import Timestamp
from rowfleet.ledger.models.tables import Base
from rowfleet.ledger.statuses import DocumentState

_STATES = ", ".join(f"'{state}'" for state in DocumentState)
_PENDING = text(f"state = '{DocumentState.PENDING}'")
_QUEUED = text(f"state = '{DocumentState.QUEUED}'")
_RUNNING = text(f"state = '{DocumentState.RUNNING}'")


class Document(Base):
    """A file that rows name, read in one way: once for all rows and batches that name it so."""

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="documents_state"),
        Index(
            "documents_pending",
            "wanted_on",
            "wanted_at",
            "id",
            postgresql_where=_PENDING,
            sqlite_where=_PENDING,
        ),
        Index("documents_queued", "wanted_on", postgresql_where=_QUEUED, sqlite_where=_QUEUED),
        Index("documents_running", "lease_until", postgresql_where=_RUNNING, sqlite_where=_RUNNING),
        Index(
            "documents_unreleased",
            "finished_at",
            postgresql_where=text("NOT is_released"),
            sqlite_where=text("is_released = 0"),
        ),
    )

    #: Hash of the following four.
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    #: The folder of documents: an absolute path, or a URI without credentials.
    root: Mapped[str] = mapped_column(Text)
    #: The file's place below it.
    path: Mapped[str] = mapped_column(Text)
    #: Its ETag, or size and time of change, when it was first named; None: that was not known.
    version: Mapped[str | None] = mapped_column(Text)
    #: The same when it was read; empty: it changed meanwhile.
    read_version: Mapped[str | None] = mapped_column(Text)
    #: The parts of it that are read, and the version of the extractor.
    reading: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16), server_default=DocumentState.PENDING.value)
    #: The queue whose batches need it; None: no batch that runs does.
    wanted_on: Mapped[str | None] = mapped_column(String(100))
    wanted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: Whether the rows that wait for it have been told of its end. Only read once it has ended.
    is_released: Mapped[bool] = mapped_column(Boolean, server_default=true())
    #: Times an extractor started on it.
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Tries that ended because its storage was away, and times its extractor vanished, since it was
    #: last retried by hand.
    retries: Mapped[int] = mapped_column(Integer, server_default="0")
    losses: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Not fed to the queue before this time (a retry's delay).
    due_at: Mapped[datetime | None] = mapped_column(Timestamp)
    queued_at: Mapped[datetime | None] = mapped_column(Timestamp)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: While it is read: after this time, unless renewed, it counts as given up by its holder.
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    #: The claim that last held it; only its holder may settle it.
    claim: Mapped[str | None] = mapped_column(String(40))
    #: Celery's node name of the worker that last held it.
    worker: Mapped[str | None] = mapped_column(Text)
    #: Why it is not read: one of `documents.unread.Unread`, and that as a sentence.
    reason: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    #: SHA-256 of the file that was read, in hex, and its size in bytes.
    content_hash: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(Integer)
    pages: Mapped[int | None] = mapped_column(Integer)
    #: Its text: see DocumentText.
    text_id: Mapped[str | None] = mapped_column(String(64))
    #: Seconds from claim to end of the last attempt.
    latency: Mapped[float | None] = mapped_column(Float)


class DocumentText(Base):
    """What was read of a file's content in one way. Files with the same content share it."""

    __tablename__ = "document_texts"

    #: Hash of the content's hash and the `reading`.
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: Encoded by `rowfleet.documents.encoding`.
    text: Mapped[bytes] = mapped_column(LargeBinary)
    pages: Mapped[int] = mapped_column(Integer)
    #: The pages as pictures, or the file itself, where a recipe sends those: encoded by
    #: `rowfleet.documents.attached`.
    attached: Mapped[bytes | None] = mapped_column(LargeBinary)
    made_at: Mapped[datetime] = mapped_column(Timestamp)


class RowDocument(Base):
    """A document that a row names."""

    __tablename__ = "row_documents"
    __table_args__ = (Index("row_documents_of", "document_id", "batch_id", "number"),)

    batch_id: Mapped[str] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    #: In the order in which the row names them, from 0.
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"))
    #: The recipe's column that names it.
    column: Mapped[str] = mapped_column(Text)
