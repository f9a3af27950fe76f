"""A PDF is read as a person reads it: its lines, its tables, its scans."""

from __future__ import annotations

import pytest
from PIL import Image, ImageFilter

from rowfleet.documents.extracted import SCALE, Kind, Page
from rowfleet.documents.limits import MAX_PAGES
from rowfleet.documents.unread import Unread, UnreadableError
from tests.integration.documents.conftest import Read
from tests.support.documents.pdfs import HEIGHT, WIDTH, pdf, scanned, show
from tests.support.documents.scans import scan

TABLE = [
    (50, 700, "Item"), (150, 700, "Description"), (400, 700, "Amount"),
    (50, 680, "00123"), (150, 680, "Freight to Bremen"), (405, 680, "1,459.62"),
    (50, 660, "00124"), (405, 660, "12.00"),
]  # fmt: skip
SCAN = ["INVOICE 4711", "", "Freight\t12\t1,459.62", "Storage\t3\t88.40", "Total\t\t1,548.02"]


def place_of(page: Page, text: str) -> tuple[float, float]:
    """Return the middle of a word, in points from the top left corner."""
    word = next(word for word in page.words() if page.text[word.start : word.end] == text)
    assert word.box is not None
    left, top, right, bottom = word.box
    return (left + right) / 2 / SCALE * page.width, (top + bottom) / 2 / SCALE * page.height


def test_columns_of_a_table_stay_under_each_other(read: Read) -> None:
    [page] = read(pdf(show(TABLE)), "a.pdf").pages
    head, first, second = page.text.split("\n")
    assert first.split() == ["00123", "Freight", "to", "Bremen", "1,459.62"]
    assert abs(head.index("Amount") - first.index("1,459.62")) <= 2
    assert abs(second.index("12.00") - first.index("1,459.62")) <= 2
    assert "Freight to Bremen" in first


def test_each_word_has_its_place(read: Read) -> None:
    [page] = read(pdf(show(TABLE)), "a.pdf").pages
    assert (page.width, page.height, page.is_ocr) == (WIDTH, HEIGHT, False)
    assert all(word.box for word in page.words())
    x, y = place_of(page, "00124")
    assert (x, y) == pytest.approx((64, HEIGHT - 663.5), abs=2)


@pytest.mark.parametrize(
    ("turned", "x", "y"),
    [(90, 663.5, 64), (180, WIDTH - 64, 663.5), (270, HEIGHT - 663.5, WIDTH - 64)],
)
def test_words_of_a_turned_page_are_where_they_are_shown(
    read: Read, turned: int, x: float, y: float
) -> None:
    [page] = read(pdf(show(TABLE), page=b"/Rotate %d" % turned), "a.pdf").pages
    assert (page.width > page.height) == (turned != 180)
    assert place_of(page, "00124") == pytest.approx((x, y), abs=3)


def test_a_page_that_begins_elsewhere_is_placed_by_what_is_shown(read: Read) -> None:
    [page] = read(pdf(show(TABLE), page=b"/CropBox[40 600 440 742]"), "a.pdf").pages
    assert (page.width, page.height) == (400, 142)
    assert place_of(page, "00124") == pytest.approx((24, 742 - 663.5), abs=2)


def test_pages_are_in_order(read: Read) -> None:
    contents = [show([(50, 700, f"Page {number}")]) for number in range(1, 4)]
    found = read(pdf(*contents), "a.pdf")
    assert [(page.number, page.text) for page in found.pages] == [
        (1, "Page 1"),
        (2, "Page 2"),
        (3, "Page 3"),
    ]
    assert (found.kind, found.page_count, found.is_cut) == (Kind.PDF, 3, False)


def test_a_long_document_is_cut_by_page(read: Read) -> None:
    found = read(pdf(*[show([(50, 700, "Page")])] * (MAX_PAGES + 1)), "a.pdf")
    assert (len(found.pages), found.page_count) == (MAX_PAGES, MAX_PAGES + 1)


def test_a_scanned_page_is_read_by_ocr(read: Read) -> None:
    [page] = read(scanned(scan(SCAN)), "a.pdf").pages
    assert page.is_ocr
    assert [line.split() for line in page.text.split("\n") if line] == [
        line.split() for line in SCAN if line
    ]
    x, y = place_of(page, "88.40")
    assert (x, y) == pytest.approx((1000 / 1654 * WIDTH, 420 / 2339 * HEIGHT), abs=8)


def test_a_crooked_scan_keeps_its_lines(read: Read) -> None:
    lines = ["Left\tmiddle\tright\tend", *(f"Freight\t{n}1.50\t{n}2.50\t{n}3.50" for n in range(9))]
    [page] = read(scanned(scan(lines, angle=1.5)), "a.pdf").pages
    assert [line.split() for line in page.text.split("\n") if line] == [
        line.split() for line in lines
    ]


def test_only_pages_without_text_are_read_by_ocr(read: Read) -> None:
    image = scan(SCAN)
    with_text = scanned(image, image, also=show(TABLE * 3))
    assert [page.is_ocr for page in read(with_text, "a.pdf").pages] == [False, False]
    stamped = read(scanned(image, also=show([(50, 20, "Scanned by ACME")])), "a.pdf")
    assert [page.is_ocr for page in stamped.pages] == [True]
    assert "1,548.02" in stamped.pages[0].text


def test_a_drawing_has_no_text(read: Read) -> None:
    [page] = read(pdf(b"50 50 m 500 700 l 200 100 l S"), "a.pdf").pages
    assert (page.text, page.is_ocr) == ("", False)


def test_text_beside_a_picture_without_text_stays(read: Read) -> None:
    photo = Image.effect_noise((1654, 2339), 9).filter(ImageFilter.GaussianBlur(40))
    [page] = read(scanned(photo, also=show([(50, 700, "Slide one")])), "a.pdf").pages
    assert (page.text, page.is_ocr) == ("Slide one", False)


def test_an_empty_page_has_no_text(read: Read) -> None:
    [page] = read(pdf(b""), "a.pdf").pages
    assert (page.text, page.is_ocr) == ("", False)


def test_filled_fields_of_a_form_are_text(read: Read) -> None:
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 200 20]/Resources<</Font<</F1 3 0 R>>>>"
    shown = show([(2, 5, "INV-4711")])
    appearance = b"<<%s/Length %d>>stream\n%s\nendstream" % (form, len(shown), shown)
    field = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(number)/V(INV-4711)/F 4/Rect[50 600 250 620]"
        b"/AP<</N 4 0 R>>>>"
    )
    made = pdf(show(TABLE), page=b"/Annots[5 0 R]", objects=[appearance, field])
    assert "INV-4711" in read(made, "a.pdf").pages[0].text


def test_a_space_that_breaks_no_line_parts_words_too(read: Read) -> None:
    [page] = read(pdf(show([(50, 700, "Total\xa012.00")])), "a.pdf").pages
    assert page.text == "Total 12.00"
    assert len(list(page.words())) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Unread.EMPTY),
        (b"%PDF-1.7\n", Unread.CORRUPT),
        (pdf(show(TABLE))[:400], Unread.CORRUPT),
        (b"not a pdf at all", Unread.WRONG_EXTENSION),
        (b"<html><body>Please log in</body></html>", Unread.WRONG_EXTENSION),
    ],
)
def test_a_pdf_that_is_none_has_its_reason(read: Read, content: bytes, reason: Unread) -> None:
    with pytest.raises(UnreadableError) as refused:
        read(content, "invoice.pdf")
    assert refused.value.reason is reason
