"""What changes from one batch's answers to another's, property by property."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from submitter.evaluation.classes import MOST_CLASSES
from submitter.evaluation.intervals import (
    Estimate,
    Resampled,
    mcnemar,
    paired_difference,
    wilson,
)
from submitter.evaluation.labels import Compared, Judged
from submitter.evaluation.pairing import Answers


@dataclass(frozen=True, slots=True)
class Change:
    """A share of the rows in the first batch and in the second, and the difference of the two."""

    first: Estimate
    second: Estimate
    #: Second less first.
    difference: Estimate
    #: Rows that only the second has, and that only the first has.
    gained: int
    lost: int
    #: McNemar's exact test: how likely so unequal gains and losses are by chance.
    p: float


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How often a class is the answer."""

    name: str
    share: Change


@dataclass(frozen=True, slots=True)
class AmountChange:
    """Amounts of the two batches; a difference is that of second less first."""

    first: float  #: The sum of the answers.
    second: float
    mean_difference: Estimate | None
    #: Mean absolute errors, where there are labels.
    first_error: float | None
    second_error: float | None
    error_difference: Estimate | None


@dataclass(frozen=True, slots=True)
class PropertyComparison:
    """How two batches' answers to a property differ."""

    property: str
    column: str | None  #: Of the labels, if there are any.
    kind: str
    #: Rows that both have answered, and that have a label where there are labels.
    rows: int
    agreement: Estimate | None
    #: The share of right answers; None without labels.
    accuracy: Change | None
    classes: tuple[ClassChange, ...]
    amounts: AmountChange | None


class PropertyCounts:
    """Counts the two answers of each row to one property."""

    def __init__(self, about: Compared) -> None:
        self.about = about
        self._rows = self._same = 0
        self._right = [0, 0]
        self._gained = self._lost = 0
        #: For each class: rows with it in the first, in the second, and in both.
        self._classes: dict[str, list[int]] = {}
        self._are_too_many = False
        self._sums = Resampled(3)
        self._errors = Resampled(3)
        self._totals = [Decimal(), Decimal()]

    def add(self, found: Answers) -> None:
        """Count a row."""
        self._rows += 1
        self._same += found.pair.is_right
        if found.beside is not None:
            one, other = (each.is_right for each in found.beside)
            self._right[0] += one
            self._right[1] += other
            self._gained += other and not one
            self._lost += one and not other
        if self.about.kind == "amount":
            self._add_amounts(found)
        else:
            self._add_classes(found.pair)

    def _add_amounts(self, found: Answers) -> None:
        if found.pair.numbers is not None:
            one, other = found.pair.numbers
            self._totals[0] += one
            self._totals[1] += other
            self._sums.add(1.0, float(one), float(other))
        if found.beside is not None and all(each.numbers for each in found.beside):
            distances = [
                float(abs(each.numbers[0] - each.numbers[1]))
                for each in found.beside
                if each.numbers is not None
            ]
            self._errors.add(1.0, *distances)

    def _add_classes(self, pair: Judged) -> None:
        if self._are_too_many:
            return
        for place, name in enumerate((pair.label, pair.answer)):
            counts = self._classes.setdefault(name, [0, 0, 0])
            counts[place] += 1
        self._classes[pair.label][2] += pair.is_right
        if len(self._classes) > MOST_CLASSES:
            self._are_too_many = True
            self._classes.clear()

    def figures(self) -> PropertyComparison:
        """Return the figures of all rows so far."""
        return PropertyComparison(
            property=self.about.property,
            column=self.about.column,
            kind=self.about.kind,
            rows=self._rows,
            agreement=wilson(self._same, self._rows),
            accuracy=self._accuracy(),
            classes=tuple(self._changes()),
            amounts=self._amounts(),
        )

    def _accuracy(self) -> Change | None:
        if self.about.index is None:
            return None
        first, second = self._right
        return _change(first, second, self._gained, self._lost, self._rows)

    def _changes(self) -> Iterator[ClassChange]:
        order = {name: place for place, name in enumerate(self.about.classes)}
        for name in sorted(self._classes, key=lambda name: (order.get(name, len(order)), name)):
            first, second, both = self._classes[name]
            change = _change(first, second, second - both, first - both, self._rows)
            if change is not None:
                yield ClassChange(name, change)

    def _amounts(self) -> AmountChange | None:
        if self.about.kind != "amount":
            return None
        (mean,) = self._sums.estimates(lambda sums: (sums[2] - sums[1]) / sums[0])
        first, second, difference = self._errors.estimates(
            lambda sums: sums[1] / sums[0],
            lambda sums: sums[2] / sums[0],
            lambda sums: (sums[2] - sums[1]) / sums[0],
        )
        return AmountChange(
            first=float(self._totals[0]),
            second=float(self._totals[1]),
            mean_difference=mean,
            first_error=None if first is None else first.value,
            second_error=None if second is None else second.value,
            error_difference=difference,
        )


def _change(first: int, second: int, gained: int, lost: int, rows: int) -> Change | None:
    one, other = wilson(first, rows), wilson(second, rows)
    difference = paired_difference(gained, lost, rows)
    if one is None or other is None or difference is None:
        return None
    return Change(one, other, difference, gained, lost, mcnemar(gained, lost))
