"""The text of a document, by pages, and the place of each word on its page.

These values are all that leaves the process that opens documents.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from rowfleet.documents.unread import Unread

#: Goes up with each change of the text that is read of the same document.
EXTRACTOR = 1

#: The coordinates of a page's right and bottom edges; its left and top edges are at 0.
SCALE = 10_000

#: The words of a page's text. Each has a box, so it must part the text as the extractor did.
WORD = re.compile(r"\S+")


class Kind(StrEnum):
    """The kinds of documents that are read, by content."""

    PDF = "pdf"
    PNG = "png"
    JPEG = "jpeg"
    TIFF = "tiff"
    WEBP = "webp"
    DOCX = "docx"
    XLSX = "xlsx"
    XLSB = "xlsb"
    XLS = "xls"
    ODS = "ods"
    CSV = "csv"
    HTML = "html"
    TEXT = "text"
    EML = "eml"
    MSG = "msg"


class Box(NamedTuple):
    """A rectangle on a page, in ten-thousandths of the page's width and height (`SCALE`).

    The origin is the top left corner of the page as it is shown.
    """

    left: int
    top: int
    right: int
    bottom: int


class Word(NamedTuple):
    """A word of a page: ``text[start:end]``. ``box`` is None where its place is not known."""

    start: int
    end: int
    box: Box | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page: of a PDF or a scan a page, of a workbook a sheet, of an e-mail its text."""

    #: From 1, through all parts of the document.
    number: int
    #: Its lines as a person reads them; columns of a table are kept apart by spaces or ` | `.
    text: str
    #: As it is shown, in points of 1/72 inch; 0 for a kind that has no paper.
    width: float = 0.0
    height: float = 0.0
    #: Whether its text was read from a picture.
    is_ocr: bool = False
    #: The attachment that it belongs to, or the sheet; empty for the document itself. Attachments
    #: of attachments are parted by `/`.
    part: str = ""
    #: Four numbers for each word of `text`, in order: see `Box`. All 0: its place is not known.
    #: Empty: no place is known.
    boxes: array[int] = field(default_factory=lambda: array("H"))

    def words(self) -> Iterator[Word]:
        """Yield the words of the page's text in order."""
        boxes = self.boxes
        for at, match in enumerate(WORD.finditer(self.text)):
            box = Box(*boxes[4 * at : 4 * at + 4]) if boxes else None
            yield Word(match.start(), match.end(), box if box and any(box) else None)


def box_array(boxes: Iterable[Box | None]) -> array[int]:
    """Return boxes as `Page.boxes` keeps them."""
    return array("H", (edge for box in boxes for edge in box or (0, 0, 0, 0)))


class UnreadPart(NamedTuple):
    """An attachment that is not read, while the rest of the document is."""

    part: str
    reason: Unread


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was read of a document."""

    kind: Kind
    pages: tuple[Page, ...]
    #: Pages that the document has; more than `pages` where it was cut.
    page_count: int
    #: The attachments that were not read.
    unread: tuple[UnreadPart, ...] = ()

    @property
    def has_text(self) -> bool:
        """Whether any page has a word."""
        return any(page.text.strip() for page in self.pages)

    @property
    def is_cut(self) -> bool:
        """Whether the document has more than was read of it."""
        return self.page_count > len(self.pages)


def extractor_version(languages: str) -> str:
    """Return the key under which texts are kept: the same document gives the same text under it.

    ``languages`` are those of the OCR, as Tesseract names them: `eng`, `eng+deu`.
    """
    return f"{EXTRACTOR}:{languages}"
