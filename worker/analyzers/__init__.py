"""Analyzers answer the question about one row. `openai` asks a model, `rules` computes.

What an analyzer raises decides the row's fate: see `rowfleet.analysis`. `registry` makes analyzers
by the names of their kinds.
"""

from __future__ import annotations

from typing import Protocol

from rowfleet.analysis import Answer, Question


class Analyzer(Protocol):
    """Answers questions; used by many threads at once."""

    def answer(self, question: Question) -> Answer:
        """Return the answer, or raise one of the failures of `rowfleet.analysis`."""
        ...
