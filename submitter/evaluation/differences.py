"""Figures of answers that are amounts: how far they are from the labels."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from decimal import Decimal

from submitter.evaluation.intervals import Estimate, Resampled, quantile


@dataclass(frozen=True, slots=True)
class AmountFigures:
    """How far amounts are from their labels, in the column's own unit."""

    #: The mean of the absolute differences, their median, and what one row of twenty exceeds.
    mean_error: Estimate | None
    median_error: Estimate | None
    error_of_19_in_20: Estimate | None
    #: The mean of answer less label: above 0, answers are too large.
    bias: Estimate | None
    #: The sums of labels and of answers.
    labelled: float
    answered: float


class Amounts:
    """Collects differences: 8 bytes a row, and sums."""

    def __init__(self) -> None:
        self._errors = array("d")
        self._sums = Resampled(3)
        self._labelled = self._answered = Decimal()

    def add(self, label: Decimal, answer: Decimal) -> None:
        """Take a row."""
        difference = float(answer - label)
        self._errors.append(abs(difference))
        self._sums.add(1.0, difference, abs(difference))
        self._labelled += label
        self._answered += answer

    def figures(self) -> AmountFigures | None:
        """Return the figures, None of no row."""
        if not self._errors:
            return None
        errors = array("d", sorted(self._errors))
        mean, bias = self._sums.estimates(
            lambda sums: sums[2] / sums[0], lambda sums: sums[1] / sums[0]
        )
        return AmountFigures(
            mean_error=mean,
            median_error=quantile(errors, 0.5),
            error_of_19_in_20=quantile(errors, 0.95),
            bias=bias,
            labelled=float(self._labelled),
            answered=float(self._answered),
        )


def amount(value: object) -> Decimal | None:
    """Return the number that a value is, exactly as it is written; None if it is none.

    Text may have spaces around it, and commas between thousands as in `1,234.50`.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return Decimal(str(value)) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    head, _, tail = text.partition(".")
    groups = head.lstrip("+-").split(",")
    if len(groups) > 1:
        if not (0 < len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
            return None
        text = head.replace(",", "") + (f".{tail}" if tail else "")
    if len(text) > 40 or not text.strip("+-").replace(".", "", 1).isdecimal():
        return None
    try:
        return Decimal(text)
    except ArithmeticError:
        return None
