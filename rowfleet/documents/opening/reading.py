"""The pages that were read of a document so far, within its bounds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rowfleet.documents.extracted import Page, UnreadPart
from rowfleet.documents.limits import (
    MAX_CHARS,
    MAX_NESTED_MAILS,
    MAX_PAGE_CHARS,
    MAX_PAGES,
    MAX_PARTS,
    OCR_SECONDS,
)
from rowfleet.documents.opening.layout import Placed, laid_out, turned_back
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.documents.unseen import UNSEEN
from rowfleet.masking import CONTROLS
from rowfleet.received import clean

if TYPE_CHECKING:
    from array import array

    from rowfleet.documents.opening.ocr import Ocr, Recognized
    from rowfleet.documents.opening.pictures import Gallery

#: Characters of the name of a part.
_MAX_NAME = 100
_EMPTY_LINES = re.compile(r"\n\s*\n\s*\n")

#: A function that reads a document's bytes under a name: `kinds.read`.
Read = Callable[[bytes, str, "Reading"], None]


def seen(text: str) -> str:
    """Return the text without characters that no one sees, and with plain ends of lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n")
    return clean(UNSEEN.sub("", text.replace("\u2029", "\n")))


def _without_hidden(words: Sequence[Placed]) -> Sequence[Placed]:
    texts = " ".join([word.text for word in words])
    if seen(texts) == texts:  # as nearly always, and quicker than word by word
        return words
    cleaned = (word._replace(text=seen(word.text)) for word in words)
    return [word for word in cleaned if word.text and not word.text.isspace()]


class Reading:
    """Collects pages. ``engine`` reads pictures of text; None: they stay without.

    ``gallery`` collects pictures of pages instead, which are numbered the same.
    """

    def __init__(self, read: Read, engine: Ocr | None, gallery: Gallery | None = None) -> None:
        self.engine = engine
        self.gallery = gallery
        self.pages: list[Page] = []
        self.page_count = 0
        self.unread: list[UnreadPart] = []
        self._read = read
        self._parts: list[str] = []
        self._parts_read = 0
        self._chars = 0
        self._mails = 0
        self._recognized = False

    @property
    def is_full(self) -> bool:
        """Whether no further page is read."""
        return (
            len(self.pages) >= MAX_PAGES
            or self._chars >= MAX_CHARS
            or (self._recognized and time.process_time() > OCR_SECONDS)
        )

    @property
    def number(self) -> int:
        """The number of the next page."""
        return len(self.pages) + 1

    def skip(self, count: int) -> None:
        """Count pages that are not read."""
        self.page_count += count

    def add_text(self, text: str, part: str = "") -> None:
        """Add text that has no paper: its form feeds part pages, and long pages are parted."""
        for sheet in text.split("\f"):
            shown = _EMPTY_LINES.sub("\n\n", "\n".join(map(str.rstrip, seen(sheet).split("\n"))))
            for piece in _pieces(shown.strip("\n")):
                self._add(Page(self.number, piece, part=self._name(part)))

    def add_words(self, words: Sequence[Placed], width: float, height: float) -> None:
        """Add a page by its words."""
        text, boxes = laid_out(_without_hidden(words), width, height)
        self._add_page(text, width, height, boxes)

    def add_recognized(self, found: Recognized, width: float, height: float) -> None:
        """Add a page by what OCR found on it; its size is that of the page as it is shown."""
        upright = (width, height) if found.turned % 180 == 0 else (height, width)
        text, boxes = laid_out(_without_hidden(found.words), *upright, found.slope)
        self._recognized = True
        self._add_page(text, width, height, turned_back(boxes, found.turned), is_ocr=True)

    def _add_page(
        self, text: str, width: float, height: float, boxes: array[int], *, is_ocr: bool = False
    ) -> None:
        if len(text) > MAX_PAGE_CHARS:
            raise UnreadableError(Unread.TOO_LARGE, f"a page of over {MAX_PAGE_CHARS:,} characters")
        name = self._name("")
        self._add(Page(self.number, text, round(width, 2), round(height, 2), is_ocr, name, boxes))

    @contextmanager
    def mail(self) -> Iterator[None]:
        """Bound how many e-mails lie within each other, around the reading of one."""
        self._mails += 1
        try:
            if self._mails > MAX_NESTED_MAILS + 1:
                raise UnreadableError(Unread.TOO_DEEP)
            yield
        finally:
            self._mails -= 1

    def add_part(self, content: bytes, name: str) -> None:
        """Read an attachment. One that is not read is noted, and the others go on."""

        def read(reading: Reading) -> None:
            if not content:
                raise UnreadableError(Unread.EMPTY)
            self._read(content, name, reading)

        self.add_inner(read, name)

    def add_inner(self, read: Callable[[Reading], None], name: str) -> None:
        """Read an attachment by ``read``; see `add_part`."""
        self._parts_read += 1
        self._parts.append(_label(name))
        before = (len(self.pages), self.page_count, self._chars, len(self.unread))
        try:
            if self._parts_read > MAX_PARTS:
                raise UnreadableError(Unread.TOO_LARGE)
            read(self)
        except MemoryError:
            raise
        except UnreadableError as error:
            reason = error.reason
        except RecursionError:
            reason = Unread.TOO_DEEP
        except Exception:  # a library's, of which each has several kinds
            reason = Unread.CORRUPT
        else:
            return
        finally:
            name = self._name("")
            self._parts.pop()
        self._forget(*before)
        self.unread.append(UnreadPart(name, reason))

    def _forget(self, pages: int, page_count: int, chars: int, unread: int) -> None:
        del self.pages[pages:]
        del self.unread[unread:]
        self.page_count, self._chars = page_count, chars

    def _add(self, page: Page) -> None:
        self.page_count += 1
        if self.is_full:
            return
        self.pages.append(page)
        self._chars += len(page.text)

    def _name(self, part: str) -> str:
        return "/".join([*self._parts, _label(part)] if part else self._parts)


def _label(name: str) -> str:
    return CONTROLS.sub("", seen(name)).replace("/", "_")[:_MAX_NAME] or "unnamed"


def _pieces(text: str) -> Iterator[str]:
    while len(text) > MAX_PAGE_CHARS:
        end = text.rfind("\n", MAX_PAGE_CHARS // 2, MAX_PAGE_CHARS) + 1 or MAX_PAGE_CHARS
        yield text[:end].rstrip("\n")
        text = text[end:]
    yield text
