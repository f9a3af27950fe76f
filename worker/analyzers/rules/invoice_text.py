"""What an invoice says, read from the text of a row's documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rowfleet.documents.extracted import WORD, Extracted, Page
from rowfleet.documents.quotes.lookup import PageText, Quote
from rowfleet.documents.quotes.normal_form import with_digits
from worker.analyzers.rules.figures import figure

#: Pages and characters of a page that are read; invoices are shorter.
MAX_PAGES, MAX_PAGE_CHARS = 50, 20_000

#: A figure of a line, and whether it is a percentage. `|` parts the cells of a table.
_FIGURE = re.compile(r"(?P<figure>\(?-?\d+(?:[.,'’]\d+)*\)?-?)\s*(?P<percent>%?)")
#: What may stand between a line's figures: currencies, signs of a table, specks of a scan.
_BETWEEN = re.compile(r"(?:\W|_|x|\b[A-Z]{3}\b)*")
#: Codes of currencies that invoices of the examples' vendors may have.
_CURRENCY = re.compile(r"\b(?:USD|EUR|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|CZK|INR|CNY)\b")


@dataclass(frozen=True, slots=True)
class Place:
    """A text in a document: its number, the page's, and the text."""

    document: int
    page: int
    quote: str

    def cited(self) -> dict[str, object]:
        """Return the place as an answer names a source."""
        return {"document": self.document, "page": self.page, "quote": self.quote}


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A line of an invoice. A figure is None where the line does not have it."""

    place: Place
    amount: Decimal
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    tax_rate: Decimal | None = None


class InvoiceText:
    """The readable documents of a row."""

    def __init__(self, documents: Sequence[Extracted | None]) -> None:
        """``documents`` has None for one that could not be read."""
        self._lines = [
            (number, page, line)
            for number, document in enumerate(documents, start=1)
            if document is not None
            for page in document.pages[:MAX_PAGES]
            for line in page.text[:MAX_PAGE_CHARS].splitlines()
            if line.strip()
        ]

    def __bool__(self) -> bool:
        """Tell whether there is anything to read."""
        return bool(self._lines)

    def find(self, text: str) -> Place | None:
        """Return the first line with ``text`` in it."""
        return next((place for place, _ in self._with(text)), None)

    def lines_of(self, description: str) -> list[InvoiceLine]:
        """Return the lines that hold ``description`` and then only figures."""
        found = []
        for place, rest in self._with(description):
            line = _figures(place, rest)
            if line is not None:
                found.append(line)
        return found

    def currencies(self) -> set[str]:
        """Return the codes of currencies that are named."""
        return {code for _, _, line in self._lines for code in _CURRENCY.findall(line)}

    def _with(self, text: str) -> Iterator[tuple[Place, str]]:
        """Yield each line with ``text`` in it, and the rest of the line."""
        wanted = Quote(text)
        for document, page, line in self._lines:
            words = list(WORD.finditer(line))
            searched = PageText([word[0] for word in words], is_recognized=page.is_ocr)
            span = searched.find(wanted) or searched.find_misread(wanted)
            if span is not None:
                rest = line[words[span.last].end() :]
                quote = " ".join(word[0] for word in words)
                yield Place(document, page.number, quote), _as_printed(page, rest)


def _as_printed(page: Page, text: str) -> str:
    return with_digits(text) if page.is_ocr else text


def _figures(place: Place, rest: str) -> InvoiceLine | None:
    """Return the line whose figures are ``rest``, None if that is not only figures."""
    figures: list[Decimal] = []
    rate: Decimal | None = None
    at = 0
    for found in _FIGURE.finditer(rest):
        number = figure(found["figure"])
        if number is None or not _BETWEEN.fullmatch(rest, at, found.start()):
            return None
        if found["percent"]:
            rate = number / 100
        else:
            figures.append(number)
        at = found.end()
    if not figures or not _BETWEEN.fullmatch(rest, at):
        return None
    if len(figures) == 3:
        return InvoiceLine(place, figures[2], figures[0], figures[1], rate)
    return InvoiceLine(place, figures[-1], tax_rate=rate)
