"""The `rules` analyzer: audits an invoice by arithmetic alone, offline and the same every time.

It fills the output of the recipe invoice-refunds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from rowfleet.analysis import Answer, Misconfigured, Question, Usage, answer_of
from rowfleet.answers.judging import judge
from rowfleet.recipes import validation
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from worker.analyzers.rules.invoice import BASES, read_invoice
from worker.analyzers.rules.rules import RULES, Finding, cents

FIELDS = ("refund_eligible", "basis", "estimated_refund", "confidence", "explanation")


def latest_day_on_earth() -> date:
    """Return today's date at UTC+14, where it begins: a later date is in the future everywhere."""
    return datetime.now(timezone(timedelta(hours=14))).date()


class RulesAnalyzer:
    """Answers with the rules. Thread-safe, and never raises because of what a cell holds."""

    def __init__(self, today: Callable[[], date] = latest_day_on_earth) -> None:
        """``today`` gives the day of the audit; invoices dated after it are in the future."""
        self._today = today
        self._checked: Recipe | None = None

    def answer(self, question: Question) -> Answer:
        """Return the answer. Raises Misconfigured for a recipe whose output it can't fill."""
        if question.recipe is not self._checked:
            check_fillable(question.recipe)
            self._checked = question.recipe
        invoice = read_invoice(question, self._today())
        output = _output([found for rule in RULES if (found := rule(invoice))])
        wanted = question.recipe.output["properties"]
        judged = judge(question, {field: output[field] for field in wanted})
        return answer_of(judged, Usage())


def make(_settings: Settings) -> RulesAnalyzer:
    """Return the analyzer; no setting concerns it."""
    return RulesAnalyzer()


def check_fillable(recipe: Recipe) -> None:
    """Raise Misconfigured unless every output of the rules is valid for ``recipe``."""
    fields = list(recipe.output["properties"])
    unknown = [field for field in fields if field not in FIELDS]
    if unknown:
        raise Misconfigured(
            f"the rules analyzer fills only the output of the recipe invoice-refunds, and the "
            f"recipe {recipe.name!r} asks for {', '.join(unknown)}; use the openai analyzer"
        )
    validator = validation.validator(recipe.output)
    for basis in BASES:
        finding = Finding(basis, "A sentence.", Decimal("12.34"), 50)
        for findings in ([], [finding]):
            output = _output(findings)
            problem = validation.first_problem(
                validator, {field: output[field] for field in fields}
            )
            if problem is not None:
                where, what = problem
                raise Misconfigured(
                    f"the rules analyzer can't fill {where} as the recipe {recipe.name!r} defines "
                    f"it: {what:.200}"
                )


def _output(findings: list[Finding]) -> dict[str, Any]:
    if not findings:
        return {
            "refund_eligible": False,
            "basis": "none",
            "estimated_refund": 0.0,
            "confidence": 70,
            "explanation": "Rules: figures, tax, date and identity show nothing wrong.",
        }
    weightiest = max(findings, key=lambda finding: finding.refund)
    refund = cents(weightiest.refund)
    return {
        "refund_eligible": refund > 0,
        "basis": weightiest.basis,
        "estimated_refund": float(refund),
        "confidence": weightiest.confidence,
        "explanation": "Rules: " + " ".join(finding.sentence for finding in findings),
    }
