"""From which confidence on a cheap model's answer may stand, by a labelled sample.

Answers below the threshold go to a strong model, as in a recipe's `cascade`. LOTUS (Patel and
others, 2024) and FrugalGPT (Chen and others, 2023) choose a threshold so, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.evaluation.confidence import STEPS
from submitter.evaluation.intervals import (
    Estimate,
    least_difference,
    paired_difference,
    wilson,
)
from submitter.evaluation.labels import Compared, Unreadable, in_sheet, judged
from submitter.evaluation.pairing import Paired
from submitter.evaluation.scale import Scale


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that both models have answered."""

    #: Of the cheap model's answer, from 0 to 1; None: there is none, so the row goes up.
    confidence: float | None
    cheap_is_right: bool
    strong_is_right: bool
    #: Dollars; None: not known.
    cheap_cost: float | None
    strong_cost: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """What a threshold would do to the sample."""

    #: Answers with at least this confidence stand; None: none does.
    confidence: float | None
    #: The share of the rows that go up.
    goes_up: float
    accuracy: Estimate
    #: The accuracy less that of the strong model alone, and the bound above which it is with 95 %
    #: confidence.
    difference: Estimate
    least: float
    #: Dollars of the sample, as a share of those of the strong model alone; None: not known.
    cost: float | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The threshold to take, and what the two models do alone."""

    rows: int
    margin: float
    cheap: Estimate
    strong: Estimate
    #: The cheap model's cost as a share of the strong model's.
    cheap_cost: float | None
    #: The cheapest step that keeps the margin; it saves nothing if its cost is not below 1.
    chosen: Step
    #: Every step that was looked at, from the safest on; the last may be one that was refused.
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Cascade:
    """What is proposed for two models."""

    cheap_model: str
    strong_model: str
    #: The rows that go up, in CEL; None: all of them.
    goes_up_if: str | None
    proposal: Proposal


def pairs_of(paired: Paired, about: Sequence[Compared], scale: Scale) -> Iterator[Pair]:
    """Yield the labelled rows of a cheap and a strong batch, in that order, as pairs.

    A row is right if every property that has a label is. One that the strong model has not
    answered tells nothing.
    """
    for cheap, strong in paired.rows():
        labels = [(each, in_sheet(each, cheap)) for each in about]
        labels = [(each, label) for each, label in labels if label is not None]
        if strong.output is None or not labels:
            continue
        try:
            right = _all_right(labels, strong.output)
            cheap_is_right = cheap.output is not None and _all_right(labels, cheap.output)
        except Unreadable:
            continue
        confidence = None if cheap.output is None else scale.of(cheap.output)
        yield Pair(confidence, cheap_is_right, right, cheap.cost_usd, strong.cost_usd)


def _all_right(labels: Sequence[tuple[Compared, Any]], output: Mapping[str, Any]) -> bool:
    return all(judged(each, label, output.get(each.property)).is_right for each, label in labels)


def of_batches(
    paired: Paired,
    recipe: Recipe,
    about: Sequence[Compared],
    confidence: str | None,
    margin: float,
) -> Cascade:
    """Return what is proposed for the cheap and the strong batch that are ``paired``.

    Raises InputError where the recipe asks for no confidence, and where no row has a label and a
    strong answer.
    """
    cheap, strong = paired.first, paired.second
    if cheap.id == strong.id:
        raise InputError(f"--cascade: {strong.id} is the batch itself; name that of the stronger")
    scale = Scale.of_recipe(recipe, about[0].property, confidence)
    if scale is None:
        raise InputError(
            f"--cascade: the recipe {recipe.name!r} asks for no confidence; add a number "
            "`confidence` to its output, or name one with --confidence"
        )
    found = propose(pairs_of(paired, about, scale), margin)
    if found is None:
        raise InputError(f"--cascade: no labelled row has an answer in batch {strong.id}")
    least = found.chosen.confidence
    condition = None if least is None else f"answer.{scale.name} < {scale.in_its_unit(least)}"
    return Cascade(cheap.model, strong.model, condition, found)


class _Counts:
    """Rows of one confidence."""

    __slots__ = ("gained", "lost", "rows", "strong_cost")

    def __init__(self) -> None:
        self.rows = self.gained = self.lost = 0
        self.strong_cost = 0.0


def propose(pairs: Iterable[Pair], margin: float) -> Proposal | None:
    """Return the cheapest threshold whose accuracy keeps the ``margin``; None of no rows.

    It is so with 95 % confidence: thresholds are tried from the safest, which leaves no answer to
    the cheap model, downwards, and the first that may lose more than the margin ends the search. A
    sequence in a fixed order needs no correction for the number of its tests (Maurer and others,
    1995).
    """
    counts: dict[int, _Counts] = {}
    rows = cheap_right = strong_right = 0
    cheap_cost: float | None = 0.0
    strong_cost: float | None = 0.0
    for pair in pairs:
        rows += 1
        cheap_right += pair.cheap_is_right
        strong_right += pair.strong_is_right
        cheap_cost = _sum(cheap_cost, pair.cheap_cost)
        strong_cost = _sum(strong_cost, pair.strong_cost)
        if pair.confidence is None:
            continue
        at = counts.setdefault(round(pair.confidence * STEPS), _Counts())
        at.rows += 1
        at.gained += pair.cheap_is_right and not pair.strong_is_right
        at.lost += pair.strong_is_right and not pair.cheap_is_right
        at.strong_cost += pair.strong_cost or 0.0
    cheap, strong = wilson(cheap_right, rows), wilson(strong_right, rows)
    if cheap is None or strong is None:
        return None

    def step(confidence: float | None, kept: _Counts) -> Step:
        accuracy = wilson(strong_right + kept.gained - kept.lost, rows)
        difference = paired_difference(kept.gained, kept.lost, rows)
        assert accuracy is not None
        assert difference is not None
        cost = None
        if cheap_cost is not None and strong_cost:
            cost = (cheap_cost + strong_cost - kept.strong_cost) / strong_cost
        bound = least_difference(kept.gained, kept.lost, rows)
        return Step(confidence, 1 - kept.rows / rows, accuracy, difference, bound, cost)

    kept = _Counts()
    steps = [step(None, kept)]
    chosen = steps[0]
    for confidence in sorted(counts, reverse=True):
        at = counts[confidence]
        kept.rows += at.rows
        kept.gained += at.gained
        kept.lost += at.lost
        kept.strong_cost += at.strong_cost
        steps.append(step(confidence / STEPS, kept))
        if steps[-1].least < -margin:
            break
        chosen = steps[-1]
    share = cheap_cost / strong_cost if cheap_cost is not None and strong_cost else None
    return Proposal(rows, margin, cheap, strong, share, chosen, tuple(steps))


def _sum(total: float | None, cost: float | None) -> float | None:
    return None if total is None or cost is None else total + cost
