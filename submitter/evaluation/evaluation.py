"""How a batch's answers compare with labels: reads the ledger once, in bounded memory."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowfleet.errors import InputError
from rowfleet.ledger.queries.answered import AnsweredRow
from rowfleet.ledger.records import BatchRecord
from rowfleet.recipes.recipe import Recipe
from submitter.evaluation.classes import MOST_CLASSES, Confusion, Pairs
from submitter.evaluation.confidence import Calibration, Confidences
from submitter.evaluation.differences import AmountFigures, Amounts
from submitter.evaluation.intervals import Estimate, Resampled, quantile, wilson
from submitter.evaluation.labels import Compared, Judged, Unreadable, judged
from submitter.evaluation.scale import Scale

#: Mistakes that a report shows of a property.
MISTAKES = 20

#: Returns a row's label for a property, None if the row has none.
LabelOf = Callable[[Compared, AnsweredRow], Any]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row whose answer differs from its label."""

    #: Its number as a spreadsheet program shows it.
    row: int
    label: str
    answer: str
    #: From 0 to 1; None where answers have none.
    confidence: float | None


@dataclass(frozen=True, slots=True)
class PropertyFigures:
    """How good the answers to one property are."""

    property: str
    #: The column of the labels; None: they are from reviews.
    column: str | None
    kind: str  #: class, amount or text
    #: Rows with a label, and those of them with an answer, of which all figures are.
    labelled: int
    answered: int
    accuracy: Estimate | None
    confusion: Confusion | None
    amounts: AmountFigures | None
    calibration: Calibration | None
    #: The mistakes with the largest confidence, or, of amounts, the largest difference.
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars of the rows that have a label and an answer; None: a price is not known."""

    total_usd: float | None
    mean_usd: Estimate | None
    #: For each row that is right in all that is compared.
    per_right_row_usd: Estimate | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from claim to end of a row's last attempt."""

    median: Estimate | None
    #: What one row of twenty exceeds.
    of_19_in_20: Estimate | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a batch's answers are; every interval holds with 95 % confidence."""

    batch_id: str
    source: str
    recipe: str
    analyzer: str
    model: str
    rows: int
    #: Rows with a label for a property, and those of them that have an answer.
    labelled: int
    answered: int
    #: Rows whose answer is right in every property that has a label.
    all_right: Estimate | None
    properties: tuple[PropertyFigures, ...]
    cost: Cost
    latency: Latency
    #: What a reader must know about the figures.
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Property:
    about: Compared
    scale: Scale | None
    labelled: int = 0
    answered: int = 0
    right: int = 0
    pairs: Pairs = field(default_factory=Pairs)
    amounts: Amounts = field(default_factory=Amounts)
    confidences: Confidences = field(default_factory=Confidences)
    mistakes: list[tuple[float, int, Mistake]] = field(default_factory=list)
    unreadable: int = 0
    unreadable_row: int = 0
    unknown_labels: set[str] = field(default_factory=set)

    def add(self, row: int, found: Judged, output: Any) -> None:
        self.answered += 1
        self.right += found.is_right
        if self.about.kind != "amount":
            self.pairs.add(found.label, found.answer)
            classes = self.about.classes if self.about.column is not None else ()
            if classes and found.label not in classes and len(self.unknown_labels) < MOST_CLASSES:
                self.unknown_labels.add(found.label)
        elif found.numbers is not None:
            self.amounts.add(*found.numbers)
        confidence = None if self.scale is None else self.scale.of(output)
        if confidence is not None:
            self.confidences.add(confidence, found.is_right)
        if not found.is_right:
            self._keep(row, found, confidence)

    def _keep(self, row: int, found: Judged, confidence: float | None) -> None:
        weight = confidence or 0.0
        if found.numbers is not None:
            weight = float(abs(found.numbers[0] - found.numbers[1]))
        entry = (weight, -row, Mistake(row, found.label, found.answer, confidence))
        if len(self.mistakes) < MISTAKES:
            heapq.heappush(self.mistakes, entry)
        else:
            heapq.heappushpop(self.mistakes, entry)

    def figures(self) -> PropertyFigures:
        scale = self.scale
        return PropertyFigures(
            property=self.about.property,
            column=self.about.column,
            kind=self.about.kind,
            labelled=self.labelled,
            answered=self.answered,
            accuracy=wilson(self.right, self.answered),
            confusion=self.pairs.confusion(self.about.classes),
            amounts=self.amounts.figures(),
            calibration=None if scale is None else self.confidences.calibration(scale.name),
            mistakes=tuple(entry[2] for entry in sorted(self.mistakes, reverse=True)),
        )

    def notes(self) -> Iterable[str]:
        name, column = self.about.property, self.about.column
        if self.about.is_sent:
            yield (
                f"the model was sent the column {column!r}, and may have copied {name} from it: "
                "list the columns to send in the recipe"
            )
        if self.unknown_labels:
            listed = ", ".join(map(repr, sorted(self.unknown_labels)[:5]))
            yield f"no answer is right where {column!r} has {listed}: the recipe has no such class"
        if self.unreadable:
            some = "1 label" if self.unreadable == 1 else f"{self.unreadable:,} labels"
            left = "is no number and is" if self.unreadable == 1 else "are no numbers and are"
            yield f"{some} in {column!r} {left} left out, the first in row {self.unreadable_row}"


class _Spending:
    """What the evaluated rows cost and how long they took."""

    def __init__(self) -> None:
        self._sums = Resampled(3)
        self._latencies = array("d")
        self._is_known = True

    def add(self, row: AnsweredRow, is_right: bool) -> None:
        if row.cost_usd is None:
            self._is_known = False
        else:
            self._sums.add(1.0, float(is_right), row.cost_usd)
        if row.latency is not None and row.same_as is None:
            self._latencies.append(row.latency)

    def cost(self) -> Cost:
        if not self._is_known:
            return Cost(None, None, None)
        mean, per_right = self._sums.estimates(
            lambda sums: sums[2] / sums[0], lambda sums: sums[2] / sums[1]
        )
        return Cost(self._sums.totals[2], mean, per_right)

    def latency(self) -> Latency:
        ordered = array("d", sorted(self._latencies))
        return Latency(quantile(ordered, 0.5), quantile(ordered, 0.95))


def evaluate(
    batch: BatchRecord,
    recipe: Recipe,
    about: Sequence[Compared],
    rows: Iterable[AnsweredRow],
    label_of: LabelOf,
    confidence: str | None = None,
) -> Evaluation:
    """Return the figures of a batch's rows, which are read once.

    ``confidence`` names the property that holds it; None: the one that is called so. Raises
    InputError if no row has both a label and an answer.
    """
    properties = [
        _Property(each, Scale.of_recipe(recipe, each.property, confidence)) for each in about
    ]
    spending = _Spending()
    labelled = answered = right = 0
    for row in rows:
        is_labelled, verdicts = _compare(properties, batch, row, label_of)
        labelled += is_labelled
        if verdicts:
            answered += 1
            right += all(verdicts)
            spending.add(row, all(verdicts))
    _check(batch, about, properties, labelled, answered)
    return Evaluation(
        batch_id=batch.id,
        source=batch.source,
        recipe=recipe.name,
        analyzer=batch.analyzer,
        model=batch.model,
        rows=batch.total,
        labelled=labelled,
        answered=answered,
        all_right=wilson(right, answered),
        properties=tuple(each.figures() for each in properties),
        cost=spending.cost(),
        latency=spending.latency(),
        notes=tuple(note for each in properties for note in each.notes()),
    )


def _compare(
    properties: Sequence[_Property], batch: BatchRecord, row: AnsweredRow, label_of: LabelOf
) -> tuple[bool, list[bool]]:
    """Return whether the row has a label, and for each label with an answer if that is right."""
    is_labelled = False
    verdicts = []
    for each in properties:
        label = label_of(each.about, row)
        if label is None:
            continue
        answer = None if row.output is None else row.output.get(each.about.property)
        try:
            found = judged(each.about, label, answer)
        except Unreadable:
            each.unreadable += 1
            each.unreadable_row = each.unreadable_row or batch.sheet_row(row.number)
            continue
        is_labelled = True
        each.labelled += 1
        if row.output is not None:
            verdicts.append(found.is_right)
            each.add(batch.sheet_row(row.number), found, row.output)
    return is_labelled, verdicts


def _check(
    batch: BatchRecord,
    about: Sequence[Compared],
    properties: Sequence[_Property],
    labelled: int,
    answered: int,
) -> None:
    for each in properties:
        if each.unreadable and not each.labelled:
            raise InputError(
                f"--against: no label in {each.about.column!r} is a number, as "
                f"{each.about.property} is; the first is in row {each.unreadable_row}"
            )
    where = " and ".join(repr(each.column) for each in about if each.column is not None)
    if not labelled:
        raise InputError(
            f"nothing of batch {batch.id} is labelled: "
            + (f"{where} is blank in every row" if where else "no row has been reviewed")
        )
    if not answered:
        raise InputError(f"no labelled row of batch {batch.id} has an answer yet")
