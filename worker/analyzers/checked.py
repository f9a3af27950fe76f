"""Answers of plug-in analyzers are checked against the recipe's schema before the ledger has them.

The built-in analyzers check their own: `openai` asks once more about an invalid answer, and `rules`
checks a recipe before its first row.
"""

from __future__ import annotations

from rowfleet.analysis import Answer, Permanent, Question
from worker.analyzers import Analyzer


class Checked:
    """An analyzer whose invalid answers fail their rows."""

    def __init__(self, analyzer: Analyzer) -> None:
        """``analyzer`` gives the answers."""
        self._analyzer = analyzer

    def answer(self, question: Question) -> Answer:
        """Return the answer, valid against the recipe's schema; raise Permanent for another.

        What an invalid answer used is counted: it is paid for.
        """
        answer = self._analyzer.answer(question)
        problem = question.recipe.problem_with(answer.output)
        if problem is not None:
            raise Permanent("the answer was not valid", answer.usage, said=problem)
        return answer
