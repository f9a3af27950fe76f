"""The texts of documents that a worker's rows name: read from the ledger, and kept for others."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from rowfleet.analysis import Postponed
from rowfleet.documents import attached, encoding
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.extracted import Extracted
from rowfleet.documents.unread import Unread
from rowfleet.ledger.document_records import RowsDocument
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.patience import patiently
from rowfleet.ledger.queries import document_facts
from rowfleet.ledger.statuses import DocumentState

log = logging.getLogger(__name__)

#: Bytes of encoded texts, pictures and files that are kept: a text unpacks to about five times.
KEPT_BYTES = 16 << 20
#: Seconds for which a row waits for the ledger before it goes back to it.
LONGEST_WAIT = 60.0
#: Seconds after which a row is tried again whose document is read anew.
READ_AGAIN = 10.0

_Content = tuple[Extracted, tuple[bytes, ...], bytes | None]


class Texts:
    """Reads the documents of rows for all slots of one process. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[_Content, int]] = OrderedDict()
        self._size = 0

    def of(self, documents: Sequence[RowsDocument]) -> tuple[AskedDocument, ...]:
        """Return the documents with what there is to show of each.

        Raises Postponed while the ledger is away, or where a person has a document read again.
        """
        return tuple(self._asked(document) for document in documents)

    def _asked(self, document: RowsDocument) -> AskedDocument:
        if document.state == DocumentState.FAILED:
            why = document.error or document.reason or Unread.CORRUPT
            return AskedDocument(document.path, document.column, None, why)
        if document.state != DocumentState.READY or document.text_id is None:
            raise Postponed("a document that it names is read again", delay=READ_AGAIN)
        extracted, pictures, file = self._content(document.text_id)
        return AskedDocument(document.path, document.column, extracted, None, pictures, file)

    def _content(self, text_id: str) -> _Content:
        with self._lock:  # a text that many rows name is read once
            if text_id in self._kept:
                self._kept.move_to_end(text_id)
                return self._kept[text_id][0]
            content, size = self._read(text_id)
            self._kept[text_id] = content, size
            self._size += size
            while self._size > KEPT_BYTES and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1][1]
            return content

    def _read(self, text_id: str) -> tuple[_Content, int]:
        def look() -> tuple[bytes | None, bytes | None]:
            with reading(self._engine) as connection:
                text = document_facts.text_of(connection, text_id)
                return text, document_facts.attached_to(connection, text_id)

        try:
            text, beside = patiently(look, log, until=time.monotonic() + LONGEST_WAIT)
        except LedgerError:
            raise Postponed("the ledger is away", delay=READ_AGAIN) from None
        if text is None:
            raise Postponed("the ledger lacks the text of a document", delay=READ_AGAIN)
        try:
            extracted = encoding.decode(text)
        except encoding.EncodingError:  # a newer version's: another worker can read it
            raise Postponed("a document was read by another version", delay=READ_AGAIN) from None
        return (extracted, *attached.decode(beside)), len(text) + len(beside or b"")
