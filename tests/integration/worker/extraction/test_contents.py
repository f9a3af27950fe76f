"""The text of a file, once; a file without text is none to ask about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rowfleet.documents.encoding import decode
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.ledger.document_records import ClaimedDocument
from tests.support.documents.pdfs import pdf, show
from worker.extraction.contents import Contents

TEXT, PICTURES = "1:eng", "1:eng:images2"


@pytest.fixture
def contents(tmp_path: Path) -> Iterator[Contents]:
    (tmp_path / "blank.pdf").write_bytes(pdf(b""))
    (tmp_path / "invoice.pdf").write_bytes(pdf(b"", show([(50, 700, "Total 12.00")])))
    contents = Contents(Root(str(tmp_path)))
    yield contents
    contents.close()


def document(folder: Path, name: str, reading: str) -> ClaimedDocument:
    return ClaimedDocument("d", str(folder), name, reading, attempts=0, retries=0)


def test_a_document_without_text_has_its_reason(contents: Contents, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as refused:
        contents.read(document(tmp_path, "blank.pdf", TEXT), lambda _: None)
    assert refused.value.reason is Unread.NO_TEXT


def test_pictures_of_a_document_need_no_text(contents: Contents, tmp_path: Path) -> None:
    read = contents.read(document(tmp_path, "blank.pdf", PICTURES), lambda _: None)
    assert read.text is not None
    assert read.text.attached


def test_one_page_with_text_is_enough(contents: Contents, tmp_path: Path) -> None:
    read = contents.read(document(tmp_path, "invoice.pdf", TEXT), lambda _: None)
    assert read.text is not None
    assert [page.text for page in decode(read.text.text).pages] == ["", "Total 12.00"]


def test_the_version_that_is_read_is_noted(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = document(tmp_path, "invoice.pdf", TEXT)
    folder = contents._folder(str(tmp_path))
    seen = folder.look("invoice.pdf")
    assert seen is not None
    assert contents.read(invoice, lambda _: None).version == seen.version
    looks = iter([seen, replace(seen, version="another")])
    monkeypatch.setattr(folder, "look", lambda _: next(looks))
    assert contents.read(invoice, lambda _: None).version == "", "it changed while it was read"
