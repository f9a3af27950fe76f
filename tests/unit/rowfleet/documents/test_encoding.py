"""A document's text in the ledger: whole, small, and nothing else is taken for one."""

from __future__ import annotations

import random
import zlib
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowfleet.documents.encoding import VERSION, EncodingError, decode, encode
from rowfleet.documents.extracted import (
    SCALE,
    WORD,
    Box,
    Extracted,
    Kind,
    Page,
    UnreadPart,
    Word,
    box_array,
)
from rowfleet.documents.limits import MAX_DECODED_BYTES, MAX_ENCODED_BYTES, MAX_PAGES
from rowfleet.documents.unread import SENTENCES, Unread, UnreadableError

PAGE = Page(1, "Total  £10.00", 595.3, 841.9, boxes=box_array([Box(10, 20, 30, 40), None]))
INVOICE = Extracted(Kind.PDF, (PAGE,), 3, (UnreadPart("scan.pdf", Unread.ENCRYPTED),))


@st.composite
def pages(draw: st.DrawFn) -> Page:
    text = draw(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
    edge = st.integers(0, SCALE)
    words = len(WORD.findall(text))
    boxes = draw(st.none() | st.lists(st.tuples(edge, edge, edge, edge), min_size=words,
                                      max_size=words))  # fmt: skip
    return Page(
        1,
        text,
        draw(st.floats(0, 1e6)),
        draw(st.floats(0, 1e6)),
        draw(st.booleans()),
        draw(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))),
        box_array(Box(*box) for box in boxes or ()),
    )


@given(st.lists(pages(), max_size=4), st.sampled_from(Kind))
def test_a_text_comes_back_as_it_was(found: list[Page], kind: Kind) -> None:
    numbered = tuple(replace(page, number=at) for at, page in enumerate(found, start=1))
    extracted = Extracted(kind, numbered, len(numbered) + 1)
    assert decode(encode(extracted)) == extracted


def test_each_word_has_its_place() -> None:
    assert list(decode(encode(INVOICE)).pages[0].words()) == [
        Word(0, 5, Box(10, 20, 30, 40)),
        Word(7, 13, None),
    ]


def test_a_page_of_unknown_places_has_words() -> None:
    assert [word.box for word in Page(1, "a b").words()] == [None, None]


def test_what_postgresql_does_not_hold_is_replaced() -> None:
    page = replace(PAGE, text="a\0 \ud800b", part="\0")
    extracted = Extracted(Kind.EML, (page,), 1, (UnreadPart("\udfff", Unread.EMPTY),))
    read = decode(encode(extracted))
    assert (read.pages[0].text, read.pages[0].part) == ("a\ufffd \ufffdb", "\ufffd")
    assert read.unread == (("\ufffd", Unread.EMPTY),)


def test_a_dense_page_takes_a_few_kilobytes() -> None:
    digits = random.Random(16)
    words = [f"{digits.randrange(10**6)}" for _ in range(600)]
    boxes = [Box(*(digits.randrange(SCALE) for _ in range(4))) for _ in words]
    page = Page(1, " ".join(words), 595, 842, boxes=box_array(boxes))
    assert len(encode(Extracted(Kind.PDF, (page,), 1))) < 8_000


def test_a_text_too_large_for_the_ledger_is_refused() -> None:
    noise = random.Random(16).randbytes(MAX_ENCODED_BYTES).hex()
    pages = tuple(Page(at + 1, noise) for at in range(2))
    with pytest.raises(UnreadableError) as refused:
        encode(Extracted(Kind.TEXT, pages, 2))
    assert refused.value.reason is Unread.TOO_LARGE


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_damaged_encoding_is_found(at: int) -> None:
    encoded = bytearray(encode(INVOICE))
    encoded[at] ^= 0x55
    with pytest.raises(EncodingError):
        decode(bytes(encoded))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]\n",
        b'{"kind":"pdf"}\n',
        b"[" * 100_000 + b"\n",
        b'{"kind":"virus","page_count":0,"unread":[],"pages":[]}\n',
        b'{"kind":"pdf","page_count":-1,"unread":[],"pages":[]}\n',
        b'{"kind":"pdf","page_count":true,"unread":[],"pages":[]}\n',
        b'{"kind":"pdf","page_count":0,"unread":[["a","b"]],"pages":[]}\n',
        b'{"kind":"pdf","page_count":0,"unread":[[1,"empty"]],"pages":[]}\n',
        b'{"kind":"pdf","page_count":1,"unread":[],"pages":[{"text":"a","width":1,"height":1,'
        b'"ocr":false,"part":"","boxes":4}]}\n12',
        b'{"kind":"pdf","page_count":1,"unread":[],"pages":[{"text":"a","width":1,"height":1,'
        b'"ocr":false,"part":"","boxes":3}]}\n123456',
        b'{"kind":"pdf","page_count":1,"unread":[],"pages":[{"text":"a","width":NaN,"height":1,'
        b'"ocr":false,"part":"","boxes":0}]}\n',
        b'{"kind":"pdf","page_count":1,"unread":[],"pages":[{"text":2,"width":1,"height":1,'
        b'"ocr":false,"part":"","boxes":0}]}\n',
        b" " * MAX_DECODED_BYTES,
    ],
)
def test_no_other_bytes_are_taken_for_a_text(content: bytes) -> None:
    with pytest.raises(EncodingError):
        decode(VERSION + zlib.compress(content))


@pytest.mark.parametrize("cut", [0, 1, 2, 40])
def test_an_encoding_cut_off_is_found(cut: int) -> None:
    with pytest.raises(EncodingError):
        decode(encode(INVOICE)[:cut])


def test_a_newer_format_is_not_misread() -> None:
    with pytest.raises(EncodingError, match="another version"):
        decode(b"\x02" + encode(INVOICE)[1:])


def test_a_cut_document_says_so() -> None:
    assert INVOICE.is_cut
    assert not replace(INVOICE, page_count=1).is_cut
    assert MAX_PAGES * 4 * array("H").itemsize * 2_000 < MAX_DECODED_BYTES


def test_each_reason_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Unread)
    assert str(UnreadableError(Unread.EMPTY)) == "the file is empty"
    assert str(UnreadableError(Unread.TOO_DEEP, "5 e-mails")).endswith(" too deep: 5 e-mails")
