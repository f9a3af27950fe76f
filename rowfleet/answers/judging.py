"""An answer that fits the recipe's schema is judged by what else the recipe says of it.

Every way to an answer comes through here: the `openai` analyzer, the `rules` analyzer, those of
other packages, and the Batch API's answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rowfleet.answers import missing_documents
from rowfleet.answers.backing import look_up
from rowfleet.answers.reasons import Reason
from rowfleet.cells import plain, value
from rowfleet.recipes.rules.rewriting import Values
from rowfleet.recipes.rules.rule import Unjudged
from rowfleet.recipes.rules.rulebook import ANSWER, Rulebook, as_json, plain_value, values_of

if TYPE_CHECKING:
    from rowfleet.analysis import Question


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, and what is to become of it."""

    #: The answer, with the fields that are computed.
    output: dict[str, Any]
    #: Told to the model, which answers once more. Those that are left then are reasons to review.
    to_mend: tuple[Reason, ...] = ()
    #: Reasons why a person should look at the row.
    reasons: tuple[Reason, ...] = ()
    #: The row fails with this.
    failure: str | None = None
    #: Whether the recipe's rule approves the row.
    is_approved: bool = False

    @property
    def all_reasons(self) -> tuple[Reason, ...]:
        """The reasons to review of a row that is not asked about again."""
        return (*self.to_mend, *self.reasons)


def judge(question: Question, output: dict[str, Any]) -> Judged:
    """Judge an answer that fits the schema. A recipe that says nothing of answers costs nothing."""
    if not question.recipe.judges_answers:
        return Judged(output)
    output, to_mend, reasons = _backed(question, output)
    reasons += missing_documents.reasons(question)
    for name, lookup in question.recipe.lookups.items():
        if lookup.missing == "review" and lookup.join is not None:
            key = plain(value(question.cells.get(lookup.join)))
            if lookup.found(key) is None:
                reasons.append(Reason(name, f"lookups.{name} has no key {key!r} of {lookup.join}"))
    return _ruled(question, output, to_mend, reasons)


def judge_corrected(question: Question, values: dict[str, Any]) -> Judged:
    """Judge values that a person corrected. Nothing is looked up: a person needs no quote."""
    if not question.recipe.judges_answers:
        return Judged(values)
    return _ruled(question, dict(values), [], [])


def _ruled(
    question: Question, output: dict[str, Any], to_mend: list[Reason], reasons: list[Reason]
) -> Judged:
    """Compute and check an answer that already has these reasons; ``output`` is changed."""
    book = question.recipe.rulebook
    values = values_of(question.recipe, question.cells, output, question.documents)
    _compute(book, values, output, reasons)
    for check, rule in book.checks:
        field = rule.fields[0] if rule.fields else None
        try:
            if rule.holds(values):
                continue
        except Unjudged as why:
            # Never the model's to mend: the row's cells are not what the check needs.
            reasons.append(Reason(check.name, f"it can't be checked: {why}", field))
            continue
        if check.otherwise == "fail":
            return Judged(output, failure=f"{check.name}: {check.sentence}")
        reason = Reason(check.name, check.sentence, field)
        (to_mend if check.otherwise == "reask" else reasons).append(reason)
    is_approved = not (to_mend or reasons) and _approves(book, values)
    return Judged(output, tuple(to_mend), tuple(reasons), is_approved=is_approved)


def _backed(
    question: Question, output: dict[str, Any]
) -> tuple[dict[str, Any], list[Reason], list[Reason]]:
    """Return a copy of ``output`` with its quotes looked up; reasons to mend, and to review."""
    if question.recipe.evidence is None:
        return dict(output), [], []
    backed = look_up(question.recipe.evidence, question.documents, output)
    return backed.output, [*backed.to_mend], [*backed.reasons]


def _compute(book: Rulebook, values: Values, output: dict[str, Any], reasons: list[Reason]) -> None:
    """Add the computed fields to ``output`` and to the ``values``, each from those before it."""
    for name, (rule, terms) in book.computed.items():
        try:
            found = rule.value(values)
            output[name] = as_json(found, terms) if isinstance(found, Fraction) else found
        except Unjudged as why:
            output[name] = None
            reasons.append(Reason(name, f"it can't be computed: {why}", name))
        values.variables[ANSWER][name] = plain_value(output[name])


def _approves(book: Rulebook, values: Values) -> bool:
    try:
        return book.auto_approve is not None and book.auto_approve.holds(values)
    except Unjudged:
        return False
