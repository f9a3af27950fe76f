"""Which rows a person should look at first: money x doubt.

The money is an amount of the row, the doubt is what an answer's confidence lacks to certainty. A
row of a large amount and a low confidence comes first, for a mistake there costs most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rowfleet.cells import Value
from rowfleet.ledger.review_records import Values
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe

#: The property of an answer that says how sure the model is.
CONFIDENCE = "confidence"
#: Words by which a property or a column is taken for an amount of money, the clearest first.
MONEY = ("refund", "amount", "total", "cost", "price", "tax")
#: The least doubt in a row that needs review, so that a large amount still counts where the model
#: claims to be certain.
LEAST_DOUBT = 0.01

#: Types of a property that may be an amount.
_NUMERIC = {"number", "integer"}


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a batch's rows are ranked by; None: it has no such value."""

    #: A property of the answer.
    confidence: str | None = None
    #: The highest confidence that there is, which is certainty.
    certain: float = 1.0
    #: A property of the answer, or else a column that is sent.
    amount: str | None = None
    amount_column: str | None = None

    def priority(self, values: Values | None, cells: Mapping[str, Value]) -> float:
        """Return money x doubt of a row; one part alone where the other is not known."""
        return round(self._money(values or {}, cells) * self._doubt(values or {}), 2)

    def _doubt(self, values: Values) -> float:
        sure = _number(values.get(self.confidence or ""))
        if sure is None:
            return 1.0
        certain = self.certain if sure <= self.certain else 100.0
        return max(LEAST_DOUBT, 1 - sure / certain)

    def _money(self, values: Values, cells: Mapping[str, Value]) -> float:
        if self.amount is None and self.amount_column is None:
            return 1.0
        money = _number(values.get(self.amount or ""))
        if not money:
            money = _number(cells.get(self.amount_column or ""))
        return abs(money or 0.0)

    def __str__(self) -> str:
        doubt = "" if self.confidence is None else f"a low {self.confidence}"
        amounts = [each for each in (self.amount, self.amount_column) if each is not None]
        money = f"a large {' or '.join(amounts)}" if amounts else ""
        return " and ".join(each for each in (money, doubt) if each)


def ranking_of(recipe: Recipe, columns: Iterable[str]) -> Ranking:
    """Return what the rows of a recipe with these sent ``columns`` are ranked by.

    The confidence is the number of that name in the answer. The amount is the number of the answer
    whose name has a word of money in it; where a row has none, the column that is named so counts.
    """
    numbers = {
        name: schema
        for name, schema in recipe.output["properties"].items()
        if isinstance(schema, Mapping) and _is_number(schema)
    }
    sure = next((name for name in numbers if fold(name) == fold(CONFIDENCE)), None)
    certain = 1.0
    if sure is not None:
        top = _number(numbers[sure].get("maximum"))
        certain = top if top else 100.0 if numbers[sure].get("type") == "integer" else 1.0
    return Ranking(sure, certain, _of_money(numbers), _of_money(columns))


def _of_money(names: Iterable[str]) -> str | None:
    listed = list(names)
    for word in MONEY:
        for name in listed:
            if fold(word) in fold(name) and "rate" not in fold(name):
                return name
    return None


def _is_number(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return bool(_NUMERIC & set(kind if isinstance(kind, list) else [kind]))


def _number(found: object) -> float | None:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        return float(found)
    except OverflowError:
        return None
