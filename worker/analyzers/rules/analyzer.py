"""The `rules` analyzer: audits an invoice by arithmetic alone, offline and the same every time.

It fills the output of the recipes invoice-refunds and refunds-with-invoices.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from rowfleet.analysis import Answer, Misconfigured, Question, Usage, answer_of
from rowfleet.answers.judging import judge
from rowfleet.recipes import validation
from rowfleet.recipes.parts.evidence import EVIDENCE
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from worker.analyzers.rules.against_invoice import (
    DOCUMENT_BASES,
    DOCUMENT_RULES,
    Compared,
    compare,
)
from worker.analyzers.rules.invoice import BASES, Invoice, read_invoice
from worker.analyzers.rules.invoice_text import InvoiceText
from worker.analyzers.rules.rules import RULES, Finding, cents

FIELDS = ("refund_eligible", "basis", "estimated_refund", "confidence", "explanation")

#: The fields that a row's documents fill; each has its source.
DOCUMENT_FIELDS = ("invoice_number", "invoice_amount")


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
        findings = [found for rule in RULES if (found := rule(invoice))]
        said = _said_by_documents(question, invoice)
        if said is not None:
            findings += [found for rule in DOCUMENT_RULES if (found := rule(said))]
        output = {**_output(findings), **_from_documents(said)}
        wanted = {field: output[field] for field in question.recipe.output["properties"]}
        if question.recipe.evidence:
            sources = _sources(said)
            wanted[EVIDENCE] = {
                field: sources.get(field) for field in question.recipe.evidence.fields
            }
        return answer_of(judge(question, wanted), Usage())


def make(_settings: Settings) -> RulesAnalyzer:
    """Return the analyzer; no setting concerns it."""
    return RulesAnalyzer()


def check_fillable(recipe: Recipe) -> None:
    """Raise Misconfigured unless every output of the rules is valid for ``recipe``."""
    fields = list(recipe.output["properties"])
    unknown = [field for field in fields if field not in FIELDS + DOCUMENT_FIELDS]
    if unknown:
        raise Misconfigured(
            f"the rules analyzer fills only the output of the recipes invoice-refunds and "
            f"refunds-with-invoices, and the recipe {recipe.name!r} asks for "
            f"{', '.join(unknown)}; use the openai analyzer"
        )
    validator = validation.validator(recipe.output)
    bases = BASES + (DOCUMENT_BASES if recipe.documents else ())
    for basis in bases:
        finding = Finding(basis, "A sentence.", Decimal("12.34"), 50)
        for findings in ([], [finding]):
            output = {**_output(findings), **_from_documents(None)}
            problem = validation.first_problem(
                validator, {field: output[field] for field in fields}
            )
            if problem is not None:
                where, what = problem
                raise Misconfigured(
                    f"the rules analyzer can't fill {where} as the recipe {recipe.name!r} defines "
                    f"it: {what:.200}"
                )


def _said_by_documents(question: Question, invoice: Invoice) -> Compared | None:
    """Return what the row's documents say of it, None where there are none to read."""
    text = InvoiceText([document.extracted for document in question.documents])
    return compare(invoice, text) if text else None


def _from_documents(said: Compared | None) -> dict[str, Any]:
    if said is None or said.number is None:
        return dict.fromkeys(DOCUMENT_FIELDS)
    return {
        "invoice_number": said.row.cell("invoicenumber"),
        "invoice_amount": None if said.line is None else float(said.line.amount),
    }


def _sources(said: Compared | None) -> dict[str, dict[str, object]]:
    """Return the sources of the fields that documents fill."""
    if said is None or said.number is None:
        return {}
    sources = {"invoice_number": said.number.cited()}
    if said.line is not None:
        sources["invoice_amount"] = said.line.place.cited()
    return sources


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
