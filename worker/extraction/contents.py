"""What is read of a file: it is fetched into a temporary file, and opened in a process apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from rowfleet.documents import attached
from rowfleet.documents.encoding import decode
from rowfleet.documents.extracted import Extracted, extractor_version
from rowfleet.documents.opener import Opener
from rowfleet.documents.places.folders import Folder, UnreachableError, fetched, open_folder
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.ledger.document_records import ClaimedDocument, NewText

#: Processes that open documents, one for each choice of the OCR's languages.
OPENERS_KEPT = 3
#: Roots whose folder is kept at hand.
FOLDERS_KEPT = 64

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """A file that was read."""

    sha256: str
    size: int
    pages: int
    text_id: str
    #: What tells the file's versions apart; empty: it changed while it was read.
    version: str
    #: None: the ledger has it from another file with the same content.
    text: NewText | None


class Contents:
    """Reads files for one process, one at a time."""

    def __init__(self, root: Root | None) -> None:
        """``root``: no folder of this machine but this one, and those below it, is read."""
        self._root = root
        self._openers: dict[str, Opener] = {}
        self._folders: dict[str, Folder] = {}

    def read(self, document: ClaimedDocument, pages_of: Callable[[str], int | None]) -> Content:
        """Return what is read of the document.

        ``pages_of`` tells how many pages a text has that is in the ledger, None where there is none
        of that id. Raises UnreadableError, UnreachableError, OpenerLostError and InputError.
        """
        languages, send = _parts(document.reading)
        suffix = PurePosixPath(document.path).suffix
        reading = ":".join(part for part in (extractor_version(languages), send) if part)
        folder = self._folder(document.root)
        before = folder.look(document.path)
        with fetched(folder, document.path) as file:
            after = folder.look(document.path)
            version = before.version if before is not None and before == after else ""
            digest, size = _hashed(file)
            key = attached.text_id(digest, reading, suffix)
            pages = pages_of(key)
            if pages is not None:
                return Content(digest, size, pages, key, version, None)
            opener = self._opener(languages)
            encoded = opener.extract(file, f"document{suffix}")
            extracted = decode(encoded)
            if not send and not extracted.has_text:
                raise UnreadableError(Unread.NO_TEXT)
            beside = _attached(opener, file, f"document{suffix}", extracted, send)
        text = NewText(key, encoded, len(extracted.pages), beside)
        return Content(digest, size, len(extracted.pages), key, version, text)

    def close(self) -> None:
        """End the processes that open documents."""
        while self._openers:
            self._openers.popitem()[1].close()

    def _folder(self, text: str) -> Folder:
        root = Root(text)
        if root.is_local and not self._may_read(root):
            raise UnreachableError(
                f"ROWFLEET_DOCUMENTS of the extractors does not name the folder {text}"
            )
        if text not in self._folders:
            if len(self._folders) >= FOLDERS_KEPT:
                self._folders.pop(next(iter(self._folders)))
            self._folders[text] = open_folder(root)
        return self._folders[text]

    def _may_read(self, root: Root) -> bool:
        if self._root is None or not self._root.is_local:
            return False
        return ".." not in root.path.parts and root.path.is_relative_to(self._root.path)

    def _opener(self, languages: str) -> Opener:
        if languages not in self._openers:
            if len(self._openers) >= OPENERS_KEPT:
                self._openers.pop(next(iter(self._openers))).close()
            self._openers[languages] = Opener(languages)
        return self._openers[languages]


def _parts(reading: str) -> tuple[str, str]:
    """Return the languages of a reading, and what is read beside the text; see `Documents`."""
    _, languages, *send = reading.split(":")
    return languages, send[0] if send else ""


def _hashed(file: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    file.seek(0)
    return digest.hexdigest(), size


def _attached(
    opener: Opener, file: IO[bytes], name: str, extracted: Extracted, send: str
) -> bytes | None:
    if send == "file":
        file.seek(0)
        return attached.of_file(file.read())
    if send.startswith("images"):
        most = int(send.removeprefix("images"))
        numbers = [page.number for page in extracted.pages[:most]]
        pictures = opener.render(file, name, numbers, max_side=attached.MAX_SIDE)
        return attached.of_pictures([picture.content for picture in pictures])
    return None
