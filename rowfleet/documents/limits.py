"""The bounds of a document and of the process that opens it."""

from __future__ import annotations

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
