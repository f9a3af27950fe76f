"""Rows that name no document."""

from __future__ import annotations

from worker.analyzers.texts import Texts


def no_texts() -> Texts:
    """Fail: no text of a document is asked for."""
    raise AssertionError("the row names no document")
