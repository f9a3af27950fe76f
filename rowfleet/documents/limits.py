"""The bounds of a document and of the process that opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Bytes of a file that is opened (64 MiB). A scanned page in colour takes about 1 MB.
MAX_FILE_BYTES: Final = 64 << 20

#: Pages that are read of a document; of a longer one, the first ones.
MAX_PAGES: Final = 500

#: Characters of a page, and of all pages together. A dense page of print has 5,000, so all the
#: pages of a document together seldom reach the second bound.
MAX_PAGE_CHARS: Final = 100_000
MAX_CHARS: Final = 2_000_000

#: Bytes of a document's encoding in the ledger, and of what it unpacks to. 500 dense pages take
#: about 2 MB and 8 MB.
MAX_ENCODED_BYTES: Final = 8 << 20
MAX_DECODED_BYTES: Final = 64 << 20

#: Parts that are read of an e-mail: itself, attachments, and those of e-mails attached to it; and
#: how many e-mails may lie within each other.
MAX_PARTS: Final = 50
MAX_NESTED_MAILS: Final = 4

#: Bytes that a part of an Office document or a web page may have when it is unpacked (64 MiB).
MAX_PART_BYTES: Final = 64 << 20

#: Pixels of a picture, or of one page of a TIFF: an A3 page at 400 dpi has 31 million.
MAX_PIXELS: Final = 40_000_000

#: Seconds of computing after which no further page of a document is read by OCR, which takes about
#: one second a page. The document is cut there.
OCR_SECONDS: Final = 120.0

#: Seconds of computing that a document gets without OCR. 500 pages of a digital PDF take two.
QUICK_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the process that opens one document."""

    #: Beyond what it has at its start (512 MiB). OCR of an A4 page takes 100.
    memory_bytes: int = 512 << 20
    #: Of a document that is read by OCR: OCR_SECONDS, and what its last page may take.
    cpu_seconds: int = 180
    #: On a loaded machine, a process gets a part of a core.
    wall_seconds: float = 600.0
