"""What an answer cites is looked up in the row's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowfleet.answers.reasons import Reason
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.quotes import numbers
from rowfleet.documents.quotes.lookup import MAX_QUOTE_CHARS
from rowfleet.documents.quotes.sources import Source, Sources
from rowfleet.recipes.parts.evidence import EVIDENCE, Evidence

#: The name of the reasons that are given here.
NAME = "evidence"
#: Characters of a quote that a reason names.
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Backed:
    """An answer whose sources were looked up."""

    output: dict[str, Any]
    #: The quotes that are not there: told to the model, which answers once more.
    to_mend: tuple[Reason, ...]
    #: The claims without a source.
    reasons: tuple[Reason, ...]


def look_up(
    evidence: Evidence, documents: Sequence[AskedDocument], output: dict[str, Any]
) -> Backed:
    """Return the answer ``output`` with what ``documents`` have of each source that it names.

    ``output`` fits the recipe's strict schema. A row without a document has nothing to cite.
    """
    sources = Sources([document.extracted for document in documents])
    looked_up: dict[str, Any] = {}
    to_mend, reasons = [], []
    for field in evidence.fields:
        cited = output[EVIDENCE][field]
        if cited is None:
            looked_up[field] = None
            if documents and output[field] not in (None, ""):
                reasons.append(Reason(NAME, f"no document is named for {field}", field))
            continue
        document, page = cited["document"], cited["page"]
        if evidence.quote:
            source = sources.look_up(document, page, cited["quote"])
        else:
            source = sources.look_at(document, page)
        looked_up[field] = source.encoded(_name(documents, source.document))
        if not source.is_found:
            to_mend.append(Reason(NAME, _missing(field, source, documents, cited), field))
        elif evidence.numbers and not _says(source.quote, output[field]):
            message = f"the quote {_shown(source.quote)} for {field} does not hold {output[field]}"
            to_mend.append(Reason(NAME, message, field))
    return Backed({**output, EVIDENCE: looked_up}, tuple(to_mend), tuple(reasons))


def _name(documents: Sequence[AskedDocument], number: int) -> str | None:
    return documents[number - 1].name if 0 < number <= len(documents) else None


def _says(quote: str, value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return not is_number or numbers.holds(quote, value)


def _shown(quote: str) -> str:
    return repr(quote if len(quote) <= _SHOWN else f"{quote[:_SHOWN]}…")


def _missing(
    field: str, source: Source, documents: Sequence[AskedDocument], cited: dict[str, Any]
) -> str:
    if not documents:
        return f"a source is named for {field}, but the row has no document"
    if "quote" not in cited:
        return f"there is no page {source.page} in document {source.document}, named for {field}"
    if len(cited["quote"]) > MAX_QUOTE_CHARS:
        return f"the quote for {field} has more than {MAX_QUOTE_CHARS:,} characters"
    quote = source.quote.strip()
    if not quote:
        return f"the quote for {field} is empty"
    alike = f"; page {source.page} has {source.share:.0%} of it" if source.share else ""
    return (
        f"the quote {_shown(quote)} for {field} is not in document {source.document}{alike}; "
        "every number must be the same, and no word left out"
    )
