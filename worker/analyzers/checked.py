"""Answers of plug-in analyzers are checked against the recipe's schema, and judged.

The built-in analyzers do so themselves: `openai` asks once more about an answer to mend, and
`rules` checks a recipe before its first row.
"""

from __future__ import annotations

from rowfleet.analysis import Answer, Permanent, Question, answer_of
from rowfleet.answers.judging import judge
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
        return answer_of(judge(question, answer.output), answer.usage)
