"""Analyzers answer the question about one row. `openai` asks a model, `rules` computes.

An analyzer is an object with `name` and `answer(question) -> Answer`. What it raises decides
the row's fate: see `rowfleet.analysis`.
"""

from __future__ import annotations

from typing import Protocol

from rowfleet.analysis import Answer, Question


class Analyzer(Protocol):
    """Answers questions; used by many threads at once."""

    name: str

    def answer(self, question: Question) -> Answer:
        """Return the answer, or raise one of the failures below."""
        ...
