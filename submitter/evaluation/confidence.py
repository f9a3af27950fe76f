"""What an answer's confidence is worth: calibration, and the accuracy above each confidence."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from submitter.evaluation.intervals import TWO_SIDED, Estimate, Resampled, from_counts, wilson

#: A confidence is read to a thousandth, so that memory is bounded.
STEPS = 1_000
#: Bins of the calibration, as in Guo and others, 2017, "On Calibration of Modern Neural Networks".
BINS = 10
#: Points of the curve of coverage at most.
MOST_POINTS = 101


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of about the same confidence."""

    low: float
    high: float
    rows: int
    #: The mean confidence of the rows, and the share of them that is right.
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Point:
    """The rows whose confidence is at least ``confidence``."""

    confidence: float
    #: The share of all rows that they are, and the share of them that is right.
    coverage: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a stated confidence agrees with the share of right answers."""

    name: str
    rows: int
    bins: tuple[Bin, ...]
    #: Mean confidence less accuracy: above 0, answers are surer than they are right.
    overconfidence: Estimate | None
    #: Expected calibration error: the mean distance of confidence and accuracy over the bins.
    error: Estimate | None
    #: Brier's score: the mean squared distance of the confidence from 1 (right) or 0 (wrong).
    brier: Estimate | None
    #: The chance that a right answer is more confident than a wrong one: 0.5 tells nothing.
    auc: Estimate | None
    coverage: tuple[Point, ...]


class Confidences:
    """Counts right and wrong rows at each thousandth of confidence."""

    def __init__(self) -> None:
        self._right = [0] * (STEPS + 1)
        self._wrong = [0] * (STEPS + 1)
        self._sums = Resampled(4)

    def add(self, confidence: float, is_right: bool) -> None:
        """Count a row by its confidence from 0 to 1."""
        step = round(confidence * STEPS)
        (self._right if is_right else self._wrong)[step] += 1
        self._sums.add(1.0, confidence, float(is_right), (confidence - is_right) ** 2)

    def calibration(self, name: str) -> Calibration | None:
        """Return the figures, None of no row."""
        right, wrong = self._right, self._wrong
        total = sum(right) + sum(wrong)
        if not total:
            return None
        overconfidence, brier = self._sums.estimates(
            lambda sums: (sums[1] - sums[2]) / sums[0], lambda sums: sums[3] / sums[0]
        )
        return Calibration(
            name=name,
            rows=total,
            bins=tuple(_bins(right, wrong)),
            overconfidence=overconfidence,
            error=_calibration_error(right, wrong),
            brier=brier,
            auc=auc(right, wrong),
            coverage=tuple(_coverage(right, wrong)),
        )


def _bin_of(step: int) -> int:
    """Return the bin of a confidence: (0, 0.1], (0.1, 0.2] and so on, 0 in the first."""
    return max(0, (step - 1) * BINS // STEPS)


def _bins(right: Sequence[int], wrong: Sequence[int]) -> list[Bin]:
    rows, hits, sums = [0] * BINS, [0] * BINS, [0] * BINS
    for step in range(STEPS + 1):
        place = _bin_of(step)
        rows[place] += right[step] + wrong[step]
        hits[place] += right[step]
        sums[place] += step * (right[step] + wrong[step])
    found = []
    for place in range(BINS):
        accuracy = wilson(hits[place], rows[place])
        if accuracy is not None:
            mean = sums[place] / rows[place] / STEPS
            low, high = place / BINS, (place + 1) / BINS
            found.append(Bin(low, high, rows[place], mean, accuracy))
    return found


def _calibration_error(right: Sequence[int], wrong: Sequence[int]) -> Estimate | None:
    """Return the expected calibration error with its basic bootstrap interval.

    A mean of distances is too large by chance, and a resample's the more so: the basic interval
    turns the distances of the resamples around the figure, which takes that back.
    """
    # Counts of right and of wrong rows at each hundredth, and the mean confidence there.
    hundredths: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for step in range(STEPS + 1):
        there = hundredths[_bin_of(step) * STEPS + step * 100 // STEPS]
        there[0] += right[step]
        there[1] += wrong[step]
        there[2] += step * (right[step] + wrong[step])
    cells = [
        (place // STEPS, sums / (hits + misses) / STEPS, hits, misses)
        for place, (hits, misses, sums) in hundredths.items()
        if hits + misses
    ]

    def error(counts: Sequence[int]) -> list[float | None]:
        total, gaps = sum(counts), [0.0] * BINS
        if not total:
            return [None]
        for place, (bin_, confidence, _, _) in enumerate(cells):
            hits, misses = counts[2 * place], counts[2 * place + 1]
            gaps[bin_] += (hits + misses) * confidence - hits
        return [sum(map(abs, gaps)) / total]

    (found,) = from_counts([count for cell in cells for count in cell[2:]], error)
    if found is None or found.low is None or found.high is None:
        return found
    return Estimate(
        found.value, max(0.0, 2 * found.value - found.high), max(0.0, 2 * found.value - found.low)
    )


def auc(right: Sequence[int], wrong: Sequence[int]) -> Estimate | None:
    """Return the area under the ROC curve of counts at each step; None without right or wrong ones.

    The variance is that of DeLong and others, 1988, and the interval that of its logit, which
    stays between 0 and 1. Without it, at 0 or 1, there is no interval.
    """
    many, few = sum(right), sum(wrong)
    if not many or not few:
        return None
    below_wrong, below_right = [0, *accumulate(wrong)], [0, *accumulate(right)]
    # Of a right row: the share of wrong ones it is above; of a wrong row: of right ones below.
    of_right = [(below_wrong[s] + wrong[s] / 2) / few for s in range(len(right))]
    of_wrong = [1 - (below_right[s] + right[s] / 2) / many for s in range(len(right))]
    area = math.fsum(n * x for n, x in zip(right, of_right, strict=True)) / many
    variance = 0.0
    for counts, shares, total in ((right, of_right, many), (wrong, of_wrong, few)):
        if total < 2:
            return Estimate(area)
        squares = math.fsum(n * (x - area) ** 2 for n, x in zip(counts, shares, strict=True))
        variance += squares / (total - 1) / total
    if not 0 < area < 1:
        return Estimate(area)
    middle = math.log(area / (1 - area))
    half = TWO_SIDED * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-each)) for each in (middle - half, middle + half))
    return Estimate(area, low, high)


def _coverage(right: Sequence[int], wrong: Sequence[int]) -> list[Point]:
    """Return a point for each confidence that occurs, or for each hundredth if these are many."""
    there = [step for step in range(STEPS + 1) if right[step] + wrong[step]]
    if len(there) > MOST_POINTS:
        there = list(range(0, STEPS + 1, STEPS // (MOST_POINTS - 1)))
    total = sum(right) + sum(wrong)
    points = []
    for step in reversed(there):
        hits = sum(right[step:])
        rows = hits + sum(wrong[step:])
        accuracy = wilson(hits, rows)
        if accuracy is not None:
            points.append(Point(step / STEPS, rows / total, accuracy))
    return points
