"""The fields of an answer that a quote from a document must back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field

from rowfleet.recipes.parts.base import Part

#: The property of an answer that holds the sources of its fields.
EVIDENCE = "evidence"

#: Fields that one recipe backs: each adds about 90 tokens to the schema, and a quote to the answer.
MAX_FIELDS = 50


class SourcePart(StrEnum):
    """The columns of a field's source, by the end of their headers."""

    DOCUMENT = "Document"
    PAGE = "Page"
    QUOTE = "Quote"


class Evidence(Part):
    """Which fields of the output need a source in the row's documents."""

    model_config = ConfigDict(serialize_by_alias=True)

    fields: tuple[str, ...] = Field(alias="for", min_length=1, max_length=MAX_FIELDS)
    #: Whether the source has a verbatim quote, which is looked up, or only document and page.
    quote: bool = True
    #: Whether a field that is a number must stand in its own quote.
    numbers: bool = False

    def check(self, output: Mapping[str, Any], *, has_documents: bool) -> None:
        """Raise ValueError if the rest of the recipe does not go with this."""
        if not has_documents:
            raise ValueError("evidence needs documents: say which columns name them")
        properties = output["properties"]
        if self.numbers and not self.quote:
            raise ValueError("evidence: numbers are looked for in quotes; leave quote: false out")
        if EVIDENCE in properties:
            raise ValueError(
                f"output has a property {EVIDENCE!r}, and evidence adds one of that name; rename it"
            )
        for field in self.fields:
            if field not in properties:
                raise ValueError(f"evidence: for names {field!r}, which output does not have")
        if len(set(self.fields)) < len(self.fields):
            raise ValueError("evidence: for names a field twice")

    def headers(self, of_fields: Mapping[str, str]) -> dict[tuple[str, SourcePart], str]:
        """Return field and part of its source → the header of that column in a finished sheet.

        ``of_fields`` are the headers of the fields themselves.
        """
        parts = [part for part in SourcePart if self.quote or part is not SourcePart.QUOTE]
        return {
            (field, part): f"{of_fields[field]}_{part}" for field in self.fields for part in parts
        }

    def added_to(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """Return the schema ``output`` with the sources first: a model quotes, and then judges."""
        sources = {
            "type": "object",
            "description": (
                "The place in the documents that says each of these fields: find it first, then "
                "answer. null where no document says it; never invent a quote."
            ),
            "properties": {field: self._source(field) for field in self.fields},
        }
        return {**output, "properties": {EVIDENCE: sources, **output["properties"]}}

    def _source(self, field: str) -> dict[str, Any]:
        properties = {
            "document": {"type": "integer", "description": "The document's number."},
            "page": {"type": "integer", "description": "The page's number in that document."},
        }
        if self.quote:
            properties["quote"] = {
                "type": "string",
                "description": (
                    f"The words that say {field}, copied from the page character by character, "
                    "without a gap: a line or a sentence."
                ),
            }
        return {"anyOf": [{"type": "object", "properties": properties}, {"type": "null"}]}
