"""Where an answer's claims come from: each cited quote, and what the documents have of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowfleet.documents.extracted import WORD, Box, Extracted, Page, Word
from rowfleet.documents.quotes.lookup import MAX_QUOTE_CHARS, PageText, Quote, Span

#: Lines of a quote whose boxes are kept. A quote of `MAX_QUOTE_CHARS` has about 25 lines.
MAX_BOXES = 30
#: Characters of pages that are searched for misread quotes of one answer: 200 pages, and about 0.2
#: seconds. The pages that the answer names come first.
MAX_MISREAD_CHARS = 600_000

#: The share of a quote that is not found at most: `75.50` is all there in `-75.50`.
_NOT_ALL = 0.99


@dataclass(frozen=True, slots=True)
class Source:
    """What one field cites, and what the documents have of it."""

    #: Of the row's documents, from 1; where the quote is found, else as it is cited.
    document: int
    #: As `Page.number` counts.
    page: int
    quote: str
    is_found: bool
    #: The share of the quote that the page has: below 1 in recognized text, or if it is not found.
    share: float
    #: One box a line of the quote; none where the page has no places of words.
    boxes: tuple[Box, ...] = ()

    def encoded(self, name: str | None) -> dict[str, Any]:
        """Return the source as an answer keeps it in the ledger; ``name`` is the document's."""
        return {
            "document": self.document,
            "name": name,
            "page": self.page,
            "quote": self.quote,
            "found": self.is_found,
            "share": round(self.share, 3),
            "boxes": [list(box) for box in self.boxes],
        }


def decoded(kept: Mapping[str, Any]) -> Source:
    """Return the source that an answer in the ledger keeps."""
    return Source(
        kept["document"],
        kept["page"],
        kept["quote"],
        kept["found"],
        kept["share"],
        tuple(Box(*box) for box in kept["boxes"]),
    )


class Sources:
    """A row's documents, in which quotes are looked up. A page is prepared when it is searched."""

    def __init__(self, documents: Sequence[Extracted | None]) -> None:
        """``documents`` has None for one that could not be read."""
        self._documents = documents
        self._prepared: dict[tuple[int, int], PageText] = {}
        self._misread_chars = MAX_MISREAD_CHARS

    def look_up(self, document: int, page: int, quote: str) -> Source:
        """Return where ``quote`` stands: in the page that is named, else in another one."""
        wanted = Quote(quote)
        quote = quote[:MAX_QUOTE_CHARS]
        found = None if wanted.is_too_long else self._found(document, page, wanted)
        if found is None:
            share = min(_NOT_ALL, self._likeness(document, page, wanted))
            return Source(document, page, quote, False, share)
        (at, there), span = found
        return Source(at, there.number, quote, True, span.share, tuple(_boxes(there, span)))

    def look_at(self, document: int, page: int) -> Source:
        """Return the page that is named as a source without a quote."""
        there = any(each.number == page for each in self._pages(document))
        return Source(document, page, "", there, float(there))

    def _found(
        self, document: int, page: int, quote: Quote
    ) -> tuple[tuple[int, Page], Span] | None:
        places = list(self._from_the_named(document, page))
        for place in places:
            if span := self._text(*place).find(quote):
                return place, span
        for place in places:
            self._misread_chars -= len(place[1].text)
            if self._misread_chars < 0:
                break
            if span := self._text(*place).find_misread(quote):
                return place, span
        return None

    def _from_the_named(self, document: int, page: int) -> Iterator[tuple[int, Page]]:
        """Yield all pages: the named one, the others of its document, those of the others."""
        named = self._pages(document)
        yield from ((document, each) for each in named if each.number == page)
        yield from ((document, each) for each in named if each.number != page)
        for other in range(1, len(self._documents) + 1):
            if other != document:
                yield from ((other, each) for each in self._pages(other))

    def _pages(self, document: int) -> Sequence[Page]:
        there = self._documents[document - 1] if 0 < document <= len(self._documents) else None
        return there.pages if there else ()

    def _text(self, document: int, page: Page) -> PageText:
        key = document, page.number
        if key not in self._prepared:
            words = WORD.findall(page.text)
            self._prepared[key] = PageText(words, is_recognized=page.is_ocr)
        return self._prepared[key]

    def _likeness(self, document: int, page: int, quote: Quote) -> float:
        for each in self._pages(document):
            if each.number == page:
                return self._text(document, each).likeness(quote)
        return 0.0


def _boxes(page: Page, span: Span) -> Iterator[Box]:
    """Yield a box for each line of the words."""
    if not page.boxes:
        return
    lines = 0
    line: Box | None = None
    for word in list(page.words())[span.first : span.last + 1]:
        if word.box is None:
            continue
        if line is not None and _is_in_line(line, word):
            line = Box(
                min(line.left, word.box.left),
                min(line.top, word.box.top),
                max(line.right, word.box.right),
                max(line.bottom, word.box.bottom),
            )
            continue
        if line is not None:
            yield line
            lines += 1
        if lines == MAX_BOXES:
            return
        line = word.box
    if line is not None:
        yield line


def _is_in_line(line: Box, word: Word) -> bool:
    """Tell whether the middle of ``word`` is within the height of ``line``."""
    return word.box is not None and line.top <= (word.box.top + word.box.bottom) // 2 <= line.bottom
