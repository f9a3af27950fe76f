"""How the answers of two batches over the same rows differ."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rowfleet.errors import InputError
from rowfleet.ledger.queries.answered import AnsweredRow
from rowfleet.ledger.records import BatchRecord
from rowfleet.recipes.recipe import Recipe
from submitter.evaluation.changes import PropertyComparison, PropertyCounts
from submitter.evaluation.intervals import Estimate, Resampled, quantile
from submitter.evaluation.labels import Compared, of_property
from submitter.evaluation.pairing import Paired, answers
from submitter.evaluation.scale import Scale


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two batches."""

    batch_id: str
    recipe: str
    model: str
    #: Of the rows that both batches have: those with an answer.
    answered: int
    cost_usd: float | None
    latency: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two batches over the same rows differ; every interval holds with 95 % confidence."""

    first: Side
    second: Side
    #: Rows that both have, and that one has alone.
    rows: int
    first_alone: int
    second_alone: int
    #: Rows with different answers to any property that is compared.
    disagreeing: int
    properties: tuple[PropertyComparison, ...]
    #: Dollars a row, second less first; None: a price is not known.
    cost_difference: Estimate | None


def shared_properties(
    first: Recipe, second: Recipe, wanted: Sequence[str], tolerance: Decimal
) -> list[Compared]:
    """Return the properties to compare: those ``wanted``, else classes and amounts of both.

    Texts such as explanations always differ, and confidences are no answers. Raises InputError
    for a property that one of the recipes does not answer, and where nothing is left.
    """
    theirs = second.headers()
    both = [name for name in first.headers() if name in theirs]
    for name in wanted:
        if name not in both:
            raise InputError(
                f"--property {name!r}: both recipes must answer it; both answer "
                + (", ".join(both) or "nothing in common")
            )
    if wanted:
        return [of_property(name, first, tolerance) for name in dict.fromkeys(wanted)]
    scales = {Scale.of_recipe(first, name, None) for name in both}
    confidences = {scale.name for scale in scales if scale is not None}
    about = [of_property(name, first, tolerance) for name in both if name not in confidences]
    found = [each for each in about if each.kind != "text"]
    if not found:
        raise InputError(
            "the two recipes have no class and no amount in common; name a text with --property"
            + (f": {', '.join(both)}" if both else "")
        )
    return found


@dataclass(slots=True)
class _Spending:
    """What the rows of one batch took."""

    answered: int = 0
    total: float | None = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: AnsweredRow) -> None:
        self.answered += row.output is not None
        unknown = self.total is None or row.cost_usd is None
        self.total = None if unknown else (self.total or 0.0) + (row.cost_usd or 0.0)
        if row.latency is not None and row.same_as is None:
            self.latencies.append(row.latency)

    def side(self, batch: BatchRecord, recipe: Recipe) -> Side:
        latency = quantile(sorted(self.latencies), 0.5)
        return Side(batch.id, recipe.name, batch.model, self.answered, self.total, latency)


def compare(
    paired: Paired, recipes: tuple[Recipe, Recipe], about: Sequence[Compared]
) -> Comparison:
    """Return how the two batches differ; reads each once.

    Raises InputError for batches of other rows, and where no row has an answer in both (and a
    label, where there are labels).
    """
    properties = {each.property: PropertyCounts(each) for each in about}
    spending = _Spending(), _Spending()
    costs = Resampled(2)
    disagreeing = 0
    for one, other in paired.rows():
        found = list(answers(about, one, other))
        disagreeing += any(not each.pair.is_right for each in found)
        for each in found:
            properties[each.about.property].add(each)
        for row, side in zip((one, other), spending, strict=True):
            side.add(row)
        if one.cost_usd is not None and other.cost_usd is not None:
            costs.add(1.0, other.cost_usd - one.cost_usd)
    figures = tuple(each.figures() for each in properties.values())
    first, second = paired.first, paired.second
    if not any(each.rows for each in figures):
        what = "a label and an answer in both" if _are_labelled(about) else "an answer in both"
        raise InputError(f"no row of batches {first.id} and {second.id} has {what}")
    (cost,) = costs.estimates(lambda sums: sums[1] / sums[0])
    are_known = all(side.total is not None for side in spending)
    return Comparison(
        first=spending[0].side(first, recipes[0]),
        second=spending[1].side(second, recipes[1]),
        rows=paired.both,
        first_alone=paired.first_alone,
        second_alone=paired.second_alone,
        disagreeing=disagreeing,
        properties=figures,
        cost_difference=cost if are_known else None,
    )


def _are_labelled(about: Iterable[Compared]) -> bool:
    return any(each.index is not None for each in about)
