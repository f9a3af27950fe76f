"""Intervals of figures, by formulas and by resampling; all hold with 95 % confidence.

Formulas stand here rather than a library: SciPy and statsmodels are 300 MB, of which these few
lines are used. The tests compare them with what those libraries compute.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

#: Standard errors to each side of a figure in a two-sided interval, and below a one-sided bound.
TWO_SIDED = NormalDist().inv_cdf(0.975)
ONE_SIDED = NormalDist().inv_cdf(0.95)

#: Resamples of a bootstrap: the usual number for percentiles (Efron and Tibshirani, 1993, 13.3).
RESAMPLES = 1_000
#: Groups of rows that are resampled. With fewer rows each is a group of its own.
GROUPS = 1_000

#: A count from which a Poisson variable is drawn as a rounded normal one.
_NORMAL_FROM = 30


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. The bounds are None where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def wilson(hits: int, total: int) -> Estimate | None:
    """Return a share with Wilson's score interval, None of nothing.

    Unlike the usual one it is right for few rows, and for shares near 0 and 1. Wilson, 1927.
    """
    if total == 0:
        return None
    share, z2 = hits / total, TWO_SIDED * TWO_SIDED
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = (
        TWO_SIDED
        * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
        / (1 + z2 / total)
    )
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == total else min(1.0, middle + half)
    return Estimate(share, low, high)


def paired_difference(gained: int, lost: int, total: int) -> Estimate | None:
    """Return the difference of two shares of the same rows, None of no rows.

    ``gained`` rows are right only in the first of the two, ``lost`` rows only in the second. The
    interval is that of Bonett and Price, 2012: Wald's, with one row added to each of the two.
    """
    if total == 0:
        return None
    middle, half = _bonett_price(gained, lost, total, TWO_SIDED)
    return Estimate((gained - lost) / total, max(-1.0, middle - half), min(1.0, middle + half))


def least_difference(gained: int, lost: int, total: int) -> float:
    """Return the bound above which the difference of `paired_difference` is."""
    middle, half = _bonett_price(gained, lost, total, ONE_SIDED)
    return max(-1.0, middle - half)


def _bonett_price(gained: int, lost: int, total: int, z: float) -> tuple[float, float]:
    first, second = (gained + 1) / (total + 2), (lost + 1) / (total + 2)
    variance = (first + second - (first - second) ** 2) / (total + 2)
    return first - second, z * math.sqrt(variance)


def mcnemar(gained: int, lost: int) -> float:
    """Return the p-value of McNemar's exact test: that gains and losses come by a fair coin.

    Two-sided; 1 where the two are the same. Of rows on which both are right, or both wrong, it
    knows nothing.
    """
    total, fewer = gained + lost, min(gained, lost)
    if 2 * fewer == total:
        return 1.0
    log_half, log_all = math.log(0.5) * total, math.lgamma(total + 1)
    tail = math.fsum(
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(total - k + 1) + log_half)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def quantile(ordered: Sequence[float], share: float) -> Estimate | None:
    """Return a quantile of ``ordered`` values with its interval between two of them; None of none.

    The number of values below a quantile is binomial, so the interval needs no assumption about
    their distribution. It is missing where there are too few values for a bound.
    """
    count = len(ordered)
    if count == 0:
        return None
    place = share * (count - 1)
    below = math.floor(place)
    above = min(below + 1, count - 1)
    value = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    half = TWO_SIDED * math.sqrt(count * share * (1 - share))
    first, last = math.floor(count * share - half), math.ceil(count * share + half)
    return Estimate(
        value,
        ordered[first] if first >= 0 else None,
        ordered[last] if last < count else None,
    )


#: A figure of sums over rows.
Statistic = Callable[[Sequence[float]], float]


class Resampled:
    """Sums over rows, held in groups, so that means and ratios get a bootstrap's interval.

    Memory is that of `GROUPS` sums, whatever the number of rows. Up to so many rows it is the usual
    bootstrap of rows. Further rows join a group at random, and groups are resampled, of which a
    ratio of sums varies as that of the rows does.
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        """Take ``width`` values of each row; the same ``seed`` gives the same intervals."""
        self._columns: list[list[float]] = [[] for _ in range(width)]
        self._draw = random.Random(seed)  # noqa: S311 (not a secret)
        self.totals = [0.0] * width

    def add(self, *values: float) -> None:
        """Add a row."""
        first = self._columns[0]
        if len(first) < GROUPS:
            for column, value in zip(self._columns, values, strict=True):
                column.append(value)
        else:
            group = self._draw.randrange(GROUPS)
            for column, value in zip(self._columns, values, strict=True):
                column[group] += value
        for place, value in enumerate(values):
            self.totals[place] += value

    def estimates(self, *statistics: Statistic) -> list[Estimate | None]:
        """Return functions of the sums with their percentile intervals, None without a value.

        A function raises ZeroDivisionError where it has no value.
        """
        count = len(self._columns[0])
        drawn: list[list[float | None]] = []
        for _ in range(RESAMPLES if count else 0):
            chosen = self._draw.choices(range(count), k=count)
            sums = [sum(map(column.__getitem__, chosen)) for column in self._columns]
            drawn.append([_applied(statistic, sums) for statistic in statistics])
        values = [_applied(statistic, self.totals) for statistic in statistics]
        return [
            None if value is None else _between(value, (each[place] for each in drawn))
            for place, value in enumerate(values)
        ]


def _applied(statistic: Statistic, sums: Sequence[float]) -> float | None:
    try:
        return statistic(sums)
    except ZeroDivisionError:
        return None


def from_counts(
    counts: Sequence[int], statistics: Callable[[Sequence[int]], Sequence[float | None]]
) -> list[Estimate | None]:
    """Return figures of a table of counts, each with its percentile interval; None has no value.

    Each count is drawn anew as a Poisson variable, which for ratios is the bootstrap of the rows
    (Chamandy and others, 2012), and takes as long for a million rows as for ten.
    """
    draw = random.Random(0)  # noqa: S311 (not a secret: the same counts have the same intervals)
    drawn: list[Sequence[float | None]] = [
        statistics([_poisson(draw, count) for count in counts]) for _ in range(RESAMPLES)
    ]
    return [
        None if value is None else _between(value, (each[place] for each in drawn))
        for place, value in enumerate(statistics(counts))
    ]


def _between(value: float, drawn: Iterable[float | None]) -> Estimate:
    found = sorted(each for each in drawn if each is not None)
    if len(found) < RESAMPLES // 2:  # mostly without a value: nothing is known of its spread
        return Estimate(value)
    return Estimate(value, found[int(0.025 * len(found))], found[math.ceil(0.975 * len(found)) - 1])


def _poisson(draw: random.Random, mean: int) -> int:
    if mean >= _NORMAL_FROM:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit:
        product *= draw.random()
        count += 1
    return count
