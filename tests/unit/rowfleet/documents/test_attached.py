"""What goes to a model beside a document's text."""

from __future__ import annotations

import pytest

from rowfleet.documents import attached
from rowfleet.documents.unread import Unread, UnreadableError


def test_pictures_and_files_come_back() -> None:
    assert attached.decode(None) == ((), None)
    assert attached.decode(attached.of_file(b"bytes")) == ((), b"bytes")
    assert attached.decode(attached.of_pictures([b"one", b"", b"three"])) == (
        (b"one", b"", b"three"),
        None,
    )
    assert attached.decode(attached.of_pictures([])) == ((), None)


def test_what_is_too_large_for_a_model_is_refused() -> None:
    with pytest.raises(UnreadableError) as caught:
        attached.of_file(b"x" * (attached.MAX_ATTACHED_BYTES + 1))
    assert caught.value.reason == Unread.TOO_LARGE


def test_files_share_a_text_by_content_reading_and_suffix() -> None:
    ids = {
        attached.text_id(content, reading, suffix)
        for content in ("a", "b")
        for reading in ("1:eng", "1:deu")
        for suffix in (".pdf", ".PDF", ".txt")
    }
    assert len(ids) == 8
