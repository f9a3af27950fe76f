"""The documents that rows name, and how they are sent to the model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from rowfleet.documents.extracted import extractor_version
from rowfleet.documents.limits import MAX_CHARS, MAX_PAGES
from rowfleet.recipes.parts.base import Part

#: How documents reach the model: as text, as pictures of their pages, or as the files themselves.
Send = Literal["text", "images", "file"]


class Missing(StrEnum):
    """What becomes of a row that lacks a document."""

    #: It fails without a call.
    FAIL = "fail"
    ANSWER_WITHOUT = "answer_without"
    #: It is answered without the document, and needs review.
    NEEDS_REVIEW = "needs_review"


#: Pages that go to a model as pictures, at most: each takes about a thousand tokens.
MOST_PICTURES = 20

#: Languages of one reading, at most; each makes OCR slower.
MOST_LANGUAGES = 5


def _several(value: Any) -> Any:
    """Let one column, or language, be written as its name alone."""
    return (value,) if isinstance(value, str) else value


#: A language as Tesseract names it: `eng`, `chi_sim`.
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}(_[a-z]{2,8})?$")]


class Documents(Part):
    """The files that a row names, in one or several columns."""

    #: Columns whose cells name files below the root.
    columns: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1)], ...], BeforeValidator(_several)
    ] = Field(min_length=1, max_length=20)
    #: What stands between several files in a cell; a line break always does.
    separator: str = Field(default=";", min_length=1, max_length=8)
    #: Whether `*`, `?` and `[…]` in a cell stand for the names of files.
    glob: bool = False
    #: Pages of each document, and characters, that are sent at most.
    max_pages: int = Field(default=20, ge=1, le=MAX_PAGES)
    max_characters: int = Field(default=100_000, ge=1_000, le=MAX_CHARS)
    send: Send = "text"
    missing: Missing = Missing.FAIL
    #: Languages of pages that are read by OCR.
    languages: Annotated[tuple[Language, ...], BeforeValidator(_several)] = Field(
        default=("eng",), min_length=1, max_length=MOST_LANGUAGES
    )

    def problem_with(self, columns: Sequence[str]) -> str | None:
        """Return what does not fit the rest of the recipe: its columns, if it names any."""
        for name in self.columns:
            if columns and name not in columns:
                return f"documents names the column {name!r}, which is not one of the columns"
        if self.send == "images" and self.max_pages > MOST_PICTURES:
            return f"documents: max_pages may be {MOST_PICTURES} at most where images are sent"
        return None

    @property
    def reading(self) -> str:
        """What is read of a document, by which version of the extractor.

        Documents are read once for all recipes whose reading is the same. The text is always read:
        evidence is looked up in it.
        """
        key = extractor_version("+".join(self.languages))
        if self.send == "images":
            return f"{key}:images{self.max_pages}"
        return f"{key}:file" if self.send == "file" else key
