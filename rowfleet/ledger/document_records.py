"""Values of documents that the ledger takes and gives: plain records, without SQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rowfleet.ledger.statuses import DocumentState


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document that a row names, before it is read."""

    #: The folder of documents, and the file's place below it.
    root: str
    path: str
    #: Its ETag, or size and time of change; None: that is not known.
    version: str | None
    #: The parts of it that are read, and the version of the extractor.
    reading: str
    #: Why it is never read, if its name alone says so: the reason, and that as a sentence.
    reason: str | None = None
    error: str | None = None

    @property
    def id(self) -> str:
        """The document's id: whoever names the same file for the same reading gets the same."""
        text = json.dumps([self.root, self.path, self.version, self.reading])
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Named:
    """The documents that some rows name."""

    #: Row → its documents' ids in order, each with the column that names it.
    rows: Mapping[int, Sequence[tuple[str, str]]]
    #: The documents by id.
    documents: Mapping[str, NewDocument]
    #: The queue of the rows' batch.
    queue: str
    #: The rows that run first, where a sample does; only their documents are read by now.
    sample: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDocument:
    """A document that now is its claimer's to read."""

    id: str
    root: str
    path: str
    reading: str
    attempts: int
    retries: int


@dataclass(frozen=True, slots=True)
class NewText:
    """What was read of a file's content."""

    id: str
    text: bytes
    pages: int
    #: The pages as pictures, or the file itself.
    attached: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """How an attempt to read a document ended.

    ``state`` is where it goes: ``ready`` with ``text_id``, ``failed`` with ``reason`` and
    ``error``, or ``pending`` to be tried again ``delay`` seconds from now. ``counts`` tells whether
    that counts as a retry, ``is_loss`` whether it counts as a lost extractor.
    """

    id: str
    attempts: int
    state: DocumentState
    text_id: str | None = None
    reason: str | None = None
    error: str | None = None
    delay: float = 0
    counts: bool = False
    is_loss: bool = False
    content_hash: str | None = None
    size: int | None = None
    pages: int | None = None
    #: What tells the file's versions apart, when it was read; empty: it changed meanwhile.
    read_version: str | None = None
    latency: float | None = None


@dataclass(frozen=True, slots=True)
class RowsDocument:
    """A document of a row, as it stands."""

    id: str
    root: str
    path: str
    #: The recipe's column that names it.
    column: str
    state: str
    reason: str | None
    error: str | None
    text_id: str | None
    pages: int | None


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """How many documents of a batch stand where."""

    #: Not read yet, those on the queue and in an extractor's hands among them.
    unread: int = 0
    ready: int = 0
    failed: int = 0
    #: Why those failed → how many did.
    reasons: Mapping[str, int] = field(default_factory=dict)
