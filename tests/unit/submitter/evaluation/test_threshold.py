"""A cascade's threshold is the cheapest that keeps the margin, with 95 % confidence."""

from __future__ import annotations

import random

import pytest

from submitter.evaluation.intervals import least_difference
from submitter.evaluation.threshold import Pair, Proposal, propose

#: Confidence of the cheap model → how often it is right. The strong one is right in 95 of 100.
CHANCES = {0.95: 0.97, 0.85: 0.93, 0.7: 0.8, 0.5: 0.55}
STRONG = 0.95
MARGIN = 0.03


def drawn(seed: int, rows: int) -> list[Pair]:
    draw = random.Random(seed)
    pairs = []
    for _ in range(rows):
        confidence = draw.choice(list(CHANCES))
        right = draw.random() < CHANCES[confidence]
        pairs.append(Pair(confidence, right, draw.random() < STRONG, 0.1, 1.0))
    return pairs


def of(pairs: list[Pair], margin: float = MARGIN) -> Proposal:
    found = propose(pairs, margin)
    assert found is not None
    return found


def test_the_cheapest_threshold_within_the_margin_is_chosen() -> None:
    found = of(drawn(1, 3_000))
    # Above 0.85 the cheap model loses next to nothing; the rows of 0.7 would lose 3.75 points.
    assert found.chosen.confidence == 0.85
    assert found.chosen.goes_up == pytest.approx(0.5, abs=0.03)
    assert found.chosen.cost == pytest.approx(0.1 + found.chosen.goes_up)
    assert found.chosen.least >= -MARGIN
    assert [step.confidence for step in found.steps] == [None, 0.95, 0.85, 0.7]
    assert found.steps[-1].least < -MARGIN
    assert found.cheap_cost == pytest.approx(0.1)


def test_the_margin_is_kept_in_95_of_100_samples() -> None:
    """The loss of a threshold in all rows that could be drawn, beside what a sample proposed."""
    losses, lost = {None: 0.0}, 0.0
    for confidence, chance in CHANCES.items():
        lost += (STRONG - chance) / len(CHANCES)
        losses[confidence] = lost
    margin = losses[0.7] - 0.0005  # just too small for 0.7: the hardest case
    chosen = [of(drawn(seed, 300), margin).chosen.confidence for seed in range(400)]
    broken = sum(losses[confidence] > margin for confidence in chosen)
    assert broken <= 30  # of 20; more are seen once in 60 times


def test_a_sample_of_300_saves_half_where_the_margin_allows() -> None:
    found = [of(drawn(seed, 300), 0.05).chosen for seed in range(20)]
    assert sum(step.cost is not None and step.cost <= 0.66 for step in found) >= 19


def test_without_a_safe_threshold_every_row_goes_up() -> None:
    pairs = [Pair(0.9, False, True, 0.1, 1.0)] * 50
    found = of(pairs)
    assert (found.chosen.confidence, found.chosen.goes_up) == (None, 1)
    assert found.chosen.cost == pytest.approx(1.1)  # which saves nothing
    assert found.chosen.least == least_difference(0, 0, 50)


def test_a_cheap_model_that_is_as_good_answers_all() -> None:
    found = of([Pair(n / 100, True, True, 0.1, 1.0) for n in range(100)] * 3)
    assert (found.chosen.confidence, found.chosen.goes_up) == (0, 0)
    assert found.chosen.cost == pytest.approx(0.1)


def test_costs_that_are_not_known_are_said_so() -> None:
    found = of([*drawn(1, 50), Pair(0.9, True, True, None, 1.0)])
    assert found.chosen.cost is None
    assert found.cheap_cost is None
    assert propose([], MARGIN) is None
