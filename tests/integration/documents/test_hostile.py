"""Each hostile document gets its reason or its text, within its limits, and harms no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest

from rowfleet.documents.limits import MAX_PAGES, Limits
from rowfleet.documents.opener import Opener
from rowfleet.documents.unread import Unread, UnreadableError
from tests.integration.documents.test_opener import server_of, stored
from tests.support.documents import hostile
from tests.support.documents.pdfs import pdf, show

#: Less than a document gets: all of it would only take longer.
LIMITS = Limits(memory_bytes=256 << 20, cpu_seconds=6, wall_seconds=60)
HONEST = pdf(show([(50, 700, "INVOICE 4711")]))

#: A document is read although it is hostile: with the text that it has, or whatever there is.
TEXT, READ = "Total 12.00", "read"


@pytest.fixture(scope="module")
def strict() -> Iterator[Opener]:
    with Opener(limits=LIMITS) as opener:
        yield opener


def opened(opener: Opener, content: bytes, name: str) -> Unread | str:
    """Return the reason, or which text the first page has."""
    with stored(content) as file:
        try:
            text = opener.read(file, name).pages[0].text
        except UnreadableError as error:
            return error.reason
    return next((known for known in (TEXT, "INVOICE 4711") if known in text), READ)


MEMORY, TIME = Unread.TOO_MUCH_MEMORY, Unread.TOO_MUCH_TIME
CASES: list[tuple[Callable[[], bytes], str, set[Unread | str]]] = [
    (hostile.zip_bomb, "a.docx", {Unread.TOO_LARGE}),
    (hostile.entities, "a.docx", {Unread.CORRUPT}),
    (hostile.deep_tables, "a.docx", {Unread.TOO_DEEP}),
    (hostile.deep_xml, "a.docx", {READ, MEMORY}),
    (hostile.wide_table, "a.docx", {READ}),
    (hostile.far_cells, "a.xlsx", {MEMORY}),
    (hostile.sheet_bomb, "a.xlsx", {MEMORY}),
    (hostile.deep_array, "a.pdf", {TEXT}),
    (hostile.deep_dictionary, "a.pdf", {TEXT}),
    (hostile.page_tree_loop, "a.pdf", {Unread.CORRUPT}),
    (hostile.form_loop, "a.pdf", {MEMORY, TIME}),
    (hostile.xref_loop, "a.pdf", {TEXT}),
    (hostile.length_loop, "a.pdf", {TEXT}),
    (hostile.content_bomb, "a.pdf", {READ, MEMORY}),
    (hostile.picture_bomb, "a.pdf", {READ, MEMORY}),
    (partial(hostile.broken_pictures, b"JBIG2Decode"), "a.pdf", {READ, MEMORY}),
    (partial(hostile.broken_pictures, b"CCITTFaxDecode"), "a.pdf", {READ}),
    (partial(hostile.broken_pictures, b"DCTDecode"), "a.pdf", {READ}),
    (partial(hostile.broken_pictures, b"LZWDecode"), "a.pdf", {READ}),
    (hostile.jpeg_2000_bomb, "a.pdf", {READ, MEMORY}),
    (hostile.broken_font, "a.pdf", {TEXT}),
    (hostile.large_page, "a.pdf", {READ, MEMORY}),
    (hostile.much_drawn, "a.pdf", {READ, MEMORY, TIME}),
    (hostile.png_bomb, "a.png", {Unread.TOO_LARGE}),
    (hostile.text_chunk_bomb, "a.png", {Unread.CORRUPT}),
    (hostile.tiff_loop, "a.tiff", {READ}),
    (hostile.noise, "a.png", {READ, TIME}),
    (hostile.nested_tags, "a.html", {TEXT}),
    (hostile.nested_tables, "a.html", {TEXT}),
    (hostile.long_tag, "a.html", {TEXT, MEMORY, TIME}),
    (hostile.open_comments, "a.html", {TEXT, TIME}),
    (hostile.nested_parts, "a.eml", {Unread.TOO_DEEP}),
    (hostile.broken_fields, "a.eml", {READ}),
    (partial(hostile.cyclic_message, directory=True), "a.msg", {READ, Unread.CORRUPT}),
    (partial(hostile.cyclic_message, directory=False), "a.msg", {READ, Unread.CORRUPT}),
]


def _name(case: object) -> str:
    if isinstance(case, partial):
        return f"{case.func.__name__}-{next(iter([*case.args, *case.keywords.values()]))}"
    return getattr(case, "__name__", "")


@pytest.mark.parametrize(("made", "name", "outcomes"), CASES, ids=_name)
def test_a_hostile_document_has_its_outcome(
    strict: Opener, made: Callable[[], bytes], name: str, outcomes: set[Unread | str]
) -> None:
    content = made()
    before = time.monotonic()
    assert opened(strict, content, name) in outcomes
    assert time.monotonic() - before < LIMITS.wall_seconds + 5
    assert server_of(strict).children() == []
    assert opened(strict, HONEST, "b.pdf") == "INVOICE 4711"
    assert server_of(strict).memory_info().rss < 200 << 20


def test_ten_thousand_pages_are_cut(strict: Opener) -> None:
    with stored(hostile.many_pages()) as file:
        found = strict.read(file, "a.pdf")
    assert (len(found.pages), found.page_count, found.is_cut) == (MAX_PAGES, 10_000, True)


def test_an_email_within_sixty_others_is_read_to_its_depth(strict: Opener) -> None:
    with stored(hostile.nested_mails()) as file:
        found = strict.read(file, "a.eml")
    assert [reason for _, reason in found.unread] == [Unread.TOO_DEEP]


def test_no_process_is_left(strict: Opener) -> None:
    """Also none that is neither a child nor ended."""
    assert opened(strict, HONEST, "b.pdf") == "INVOICE 4711"
    server = server_of(strict)
    # The server leads a session, which the processes that it forks stay in.
    found = [each for each in psutil.process_iter() if _session(each) == server.pid]
    assert found == [server]


def _session(process: psutil.Process) -> int:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return 0
