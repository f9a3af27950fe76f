"""A quote gets the page where it stands, the boxes of its lines, and the share that is equal."""

from __future__ import annotations

import pytest

from rowfleet.documents.extracted import WORD, Box, Extracted, Kind, Page, box_array
from rowfleet.documents.quotes.sources import MAX_BOXES, MAX_MISREAD_CHARS, Source, Sources, decoded


def page(number: int, text: str, *, is_ocr: bool = False, wide: int = 4) -> Page:
    """Return a page whose words stand ``wide`` in a line."""
    boxes = [
        Box(at % wide * 1000, at // wide * 300, at % wide * 1000 + 900, at // wide * 300 + 200)
        for at in range(len(WORD.findall(text)))
    ]
    return Page(number, text, 595, 842, is_ocr, boxes=box_array(boxes))


def document(*pages: Page) -> Extracted:
    return Extracted(Kind.PDF, pages, len(pages))


FIRST = document(
    page(1, "Invoice HLF00123 of Harbourline\nTotal 1,224.00"),
    page(2, "Pallet delivery 12 85.00 1,020.00\nTotal 1,224.00"),
)
SECOND = document(page(1, "lnvoice HLF00l24 of Harbour line Tota1 99.00", is_ocr=True))
SOURCES = Sources([FIRST, SECOND, None])


def test_the_named_page_comes_first() -> None:
    for number in (1, 2):
        source = SOURCES.look_up(1, number, "Total 1,224.00")
        assert (source.document, source.page, source.is_found, source.share) == (1, number, True, 1)


@pytest.mark.parametrize("named", [(1, 1), (1, 9), (2, 1), (3, 1), (0, 0), (-1, -1), (10**30, 1)])
def test_a_quote_is_found_whatever_page_is_named(named: tuple[int, int]) -> None:
    source = SOURCES.look_up(*named, "Pallet delivery 12")
    assert (source.document, source.page, source.is_found) == (1, 2, True)


def test_an_exact_place_wins_over_a_misread_one() -> None:
    sources = Sources([document(page(1, "Tota1 99.00"), page(2, "Total 99.00"))])
    assert sources.look_up(1, 1, "Total 99.00").page == 2


def test_a_misread_quote_has_its_share() -> None:
    source = SOURCES.look_up(2, 1, "Invoice HLF00124")
    assert source.is_found
    assert 0.8 < source.share < 1


def test_a_quote_over_two_lines_has_two_boxes() -> None:
    source = SOURCES.look_up(1, 2, "12 85.00 1,020.00 Total")
    assert source.boxes == (Box(2000, 0, 3900, 200), Box(0, 300, 1900, 500))


def test_a_missing_quote_keeps_the_named_page_and_what_is_alike() -> None:
    source = SOURCES.look_up(1, 2, "Pallet delivery 12 85.00 1,021.00")
    assert (source.document, source.page, source.is_found, source.boxes) == (1, 2, False, ())
    assert 0.9 < source.share < 1
    assert SOURCES.look_up(1, 7, "Pallet delivery 12 85.00 1,021.00").share == 0


def test_a_whole_page_as_a_quote_is_none() -> None:
    long = "word " * 1_000
    assert not Sources([document(Page(1, long))]).look_up(1, 1, long).is_found


def test_the_boxes_of_a_quote_are_bounded() -> None:
    text = "a " * 100
    source = Sources([document(page(1, text, wide=1))]).look_up(1, 1, text)
    assert source.is_found
    assert len(source.boxes) == MAX_BOXES


def test_a_page_without_places_gives_none() -> None:
    source = Sources([document(Page(1, "Total 1.00"))]).look_up(1, 1, "Total 1.00")
    assert source.is_found
    assert source.boxes == ()


def test_a_source_without_a_quote_is_a_page_that_exists() -> None:
    assert SOURCES.look_at(1, 2).is_found
    for place in ((1, 3), (3, 1), (4, 1), (0, 1)):
        assert not SOURCES.look_at(*place).is_found


def test_sources_come_back_from_the_ledger() -> None:
    for source in (
        SOURCES.look_up(1, 2, "Pallet delivery 12"),
        SOURCES.look_up(1, 2, "nothing like it"),
    ):
        again = decoded(source.encoded("a.pdf"))
        assert again == Source(
            *(getattr(source, name) for name in ("document", "page", "quote", "is_found")),
            round(source.share, 3),
            source.boxes,
        )


def test_misread_quotes_are_sought_in_so_many_characters_and_first_where_they_are_named() -> None:
    filler = "word " * (MAX_MISREAD_CHARS // 10)
    pages = [*(Page(at, filler) for at in (1, 2, 3)), Page(4, "T0tal 99.00")]
    assert Sources([document(*pages)]).look_up(1, 4, "Total 99.00").is_found
    assert not Sources([document(*pages)]).look_up(1, 1, "Total 99.00").is_found
    # A quote that is there word for word is found wherever it is.
    assert Sources([document(*pages)]).look_up(1, 1, "T0tal 99.00").is_found
