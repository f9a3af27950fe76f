"""A row that lacks a document: it fails without a call, or its answer may need review."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rowfleet.answers.reasons import Reason
from rowfleet.recipes.parts.documents import Missing

if TYPE_CHECKING:
    from rowfleet.analysis import Question

#: The name of the reasons that are given here.
NAME = "documents"


def refusal(question: Question) -> tuple[str, str | None] | None:
    """Return why the row fails without a call: in our words, and what names its document.

    None: it is asked about.
    """
    documents = question.recipe.documents
    if documents is None or documents.missing != Missing.FAIL:
        return None
    if not question.documents:
        return f"it names no document in {_listed(documents.columns)}", None
    problems = list(_problems(question))
    return ("a document that it names is not read", "; ".join(problems)) if problems else None


def reasons(question: Question) -> tuple[Reason, ...]:
    """Return why a person should look at a row that is answered without a document."""
    documents = question.recipe.documents
    if documents is None or documents.missing != Missing.NEEDS_REVIEW:
        return ()
    if not question.documents:
        return (Reason(NAME, f"it names no document in {_listed(documents.columns)}"),)
    return tuple(Reason(NAME, problem) for problem in _problems(question))


def _problems(question: Question) -> Iterator[str]:
    for document in question.documents:
        if document.extracted is None:
            yield f"{document.name}: {document.problem or 'it is not read'}"


def _listed(columns: tuple[str, ...]) -> str:
    return " or ".join(columns)
