"""Labels from reviews: the values that people decided on, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from rowfleet.ledger.queries.answered import AnsweredRow
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.recipes.recipe import Recipe
from submitter.evaluation.labels import NULL, REJECTED, Compared, of_property
from submitter.evaluation.scale import Scale

#: What a reader must know of labels from reviews.
NOT_AT_RANDOM = (
    "the figures are those of reviewed rows, which are not drawn at random: rows that need review "
    "are worse than others"
)


def properties(recipe: Recipe, confidence: str | None, tolerance: Decimal) -> list[Compared]:
    """Return all properties of the recipe but those that hold a confidence."""
    names = list(recipe.headers())
    scales = [Scale.of_recipe(recipe, name, confidence) for name in names]
    confidences = {scale.name for scale in scales if scale is not None}
    return [of_property(name, recipe, tolerance) for name in names if name not in confidences]


class Reviewed:
    """Returns labels of rows that are asked for in order, from decisions in the same order."""

    def __init__(self, history: Iterator[DecisionRecord]) -> None:
        """Take all decisions, by row and then the oldest first."""
        self._history = history
        self._next = next(history, None)
        self._newest: DecisionRecord | None = None

    def label_of(self, about: Compared, row: AnsweredRow) -> Any:
        """Return the value that was decided on last, None if the row was not reviewed."""
        while self._next is not None and self._next.number <= row.number:
            self._newest, self._next = self._next, next(self._history, None)
        if self._newest is None or self._newest.number != row.number:
            return None
        if self._newest.after is None:
            return REJECTED
        value = self._newest.after.get(about.property)
        return NULL if value is None else value
