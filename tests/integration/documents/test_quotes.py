"""Quotes of printed pages: the true ones are found, in PDFs and in scans; no false one is."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterator

import pytest

from rowfleet.documents.extracted import Extracted
from rowfleet.documents.opener import Opener
from rowfleet.documents.quotes.sources import Sources
from tests.support.documents import printed

#: The pages, as lines, and what was read of each: the document and the page's number in it.
Read = list[tuple[list[str], Extracted, int]]

NEGATIONS = ("No", "not", "can't", "without")


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[[bytes, str], Extracted]]:
    with Opener("eng+deu") as opener:

        def read(content: bytes, name: str) -> Extracted:
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.flush()
                return opener.read(file, name)

        yield read


@pytest.fixture(scope="module")
def digital(opened: Callable[[bytes, str], Extracted]) -> Read:
    rng = random.Random(16)
    pages = [printed.lines_of_a_page(rng) for _ in range(20)]
    document = opened(printed.pdf(pages), "a.pdf")
    return [(lines, document, number) for number, lines in enumerate(pages, start=1)]


@pytest.fixture(scope="module")
def scanned(opened: Callable[[bytes, str], Extracted]) -> Read:
    rng = random.Random(17)
    pages = [printed.lines_of_a_page(rng) for _ in range(10)]
    scans = printed.scans(printed.pdf(pages), rng)
    return [(lines, opened(scan, "a.jpg"), 1) for lines, scan in zip(pages, scans, strict=True)]


def true_quotes(rng: random.Random, pages: Read) -> Iterator[tuple[str, Extracted, int]]:
    """Yield 1,000 quotes of what was printed: whole lines, parts of lines, two lines."""
    for _ in range(1_000):
        lines, document, number = rng.choice(pages)
        at = rng.randrange(len(lines) - 1)
        words = lines[at].split()
        kind = rng.random()
        if kind < 0.1:
            words += lines[at + 1].split()
        elif kind > 0.5:
            first = rng.randrange(len(words))
            behind = rng.randint(first + 1, len(words))
            # A quote without its negation is not a true one.
            if words[first - 1] in NEGATIONS:
                first -= 1
            if behind < len(words) and words[behind] in NEGATIONS:
                behind += 1
            words = words[first:behind]
        yield " ".join(words), document, number


def false_quotes(rng: random.Random, pages: Read) -> Iterator[tuple[str, Extracted, int]]:
    """Yield 200 quotes that are not there, most of them by a hair."""
    for at in range(200):
        lines, document, number = rng.choice(pages)
        rows = [line.split() for line in lines[1:21]]
        row = rng.choice(rows)
        clause = rng.choice(lines[21:25]).split()
        match at % 8:
            case 0:
                place = rng.choice([place for place, word in enumerate(row) if word[0].isdigit()])
                row[place] = _another_digit(rng, row[place])
                quote = row
            case 1:
                other = rng.choice([each for each in rows if each[-1] != row[-1]])
                quote = [*row[:-1], other[-1]]
            case 2:
                quote = [word for word in clause if word not in ("not", "No", "free", "can't")]
                quote = quote if quote != clause else [*clause[:1], "not", *clause[1:]]
            case 3:
                quote = [*row[:-5], *row[-4:]]  # the line without its quantity
            case 4:
                quote = [*row[:-1], f"-{row[-1]}"]
            case 5:
                quote = [*row[:-1], row[-1].replace(".", "")]
            case 6:
                quote = [*clause[:2], rng.choice(["shipped", "never", "invoices"]), *clause[3:]]
            case _:
                quote = f"Rebate for early payment {rng.randint(2, 9)} %".split()
        yield " ".join(quote), document, number


def _another_digit(rng: random.Random, number: str) -> str:
    at = rng.choice([place.start() for place in re.finditer(r"\d", number)])
    digit = rng.choice([each for each in "0123456789" if each != number[at]])
    return number[:at] + digit + number[at + 1 :]


def is_found(quote: str, document: Extracted, page: int) -> bool:
    return Sources([document]).look_up(1, page, quote).is_found


def test_true_quotes_of_digital_pages_are_found(digital: Read) -> None:
    missed = [each for each in true_quotes(random.Random(1), digital) if not is_found(*each)]
    assert len(missed) <= 5, [quote for quote, *_ in missed]


def test_true_quotes_of_scanned_pages_are_found(scanned: Read) -> None:
    missed = [each for each in true_quotes(random.Random(2), scanned) if not is_found(*each)]
    assert len(missed) <= 50, [quote for quote, *_ in missed]


@pytest.mark.parametrize("kind", ["digital", "scanned"])
def test_no_false_quote_is_found(kind: str, request: pytest.FixtureRequest) -> None:
    pages: Read = request.getfixturevalue(kind)
    quotes = list(false_quotes(random.Random(3), pages))
    assert len(quotes) == 200
    assert [quote for quote, *place in quotes if is_found(quote, *place)] == []
