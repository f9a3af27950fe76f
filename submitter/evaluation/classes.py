"""Figures of answers that are one of a few classes: precision, recall, confusion."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from submitter.evaluation.intervals import Estimate, from_counts, wilson

#: Classes of labels and answers up to which each has figures of its own: beyond, the property is
#: text, and a table of it helps no reader.
MOST_CLASSES = 60


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How well one class is told from all others; a figure without rows is None."""

    name: str
    #: Rows with this label, and rows with this answer.
    labelled: int
    answered: int
    #: The share of its answers that are right, and the share of its rows that are found.
    precision: Estimate | None
    recall: Estimate | None
    #: The harmonic mean of the two.
    f1: Estimate | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label got each answer, and the figures that come from it."""

    names: tuple[str, ...]
    #: A row for each label, a column for each answer, in the order of ``names``.
    counts: tuple[tuple[int, ...], ...]
    classes: tuple[ClassFigures, ...]
    #: The mean of the classes' F1, each class counted the same, however few its rows are.
    macro_f1: Estimate | None
    #: Cohen's kappa: agreement beyond what the same shares of classes would have by chance.
    kappa: Estimate | None


class Pairs:
    """Counts of (label, answer), for as long as there are few classes."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._names: dict[str, None] = {}
        self.are_too_many = False

    def add(self, label: str, answer: str) -> None:
        """Count a row."""
        if self.are_too_many:
            return
        self._counts[label, answer] += 1
        self._names |= {label: None, answer: None}
        if len(self._names) > MOST_CLASSES:
            self.are_too_many = True
            self._counts.clear()
            self._names.clear()

    def confusion(self, order: Sequence[str] = ()) -> Confusion | None:
        """Return the table, None if there are too many classes or none.

        Classes that ``order`` names come first, in its order.
        """
        if not self._counts:
            return None
        first = [name for name in order if name in self._names]
        names = (*first, *sorted(name for name in self._names if name not in first))
        return confusion(names, self._counts)


def confusion(names: tuple[str, ...], counts: Mapping[tuple[str, str], int]) -> Confusion:
    """Return the figures of ``counts`` of (label, answer)."""
    cells = list(counts)
    labelled: dict[str, int] = defaultdict(int)
    answered: dict[str, int] = defaultdict(int)
    for (label, answer), count in counts.items():
        labelled[label] += count
        answered[answer] += count

    def figures(drawn: Sequence[int]) -> list[float | None]:
        return _figures(names, cells, drawn)

    kappa, macro, *each = from_counts([counts[cell] for cell in cells], figures)
    classes = tuple(
        ClassFigures(
            name,
            labelled[name],
            answered[name],
            wilson(counts.get((name, name), 0), answered[name]),
            wilson(counts.get((name, name), 0), labelled[name]),
            f1,
        )
        for name, f1 in zip(names, each, strict=True)
    )
    table = tuple(tuple(counts.get((row, column), 0) for column in names) for row in names)
    return Confusion(names, table, classes, macro, kappa)


def _figures(
    names: Sequence[str], cells: Sequence[tuple[str, str]], counts: Sequence[int]
) -> list[float | None]:
    """Return kappa, macro F1, and each class's F1."""
    rows, columns = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    right = dict.fromkeys(names, 0)
    for (label, answer), count in zip(cells, counts, strict=True):
        rows[label] += count
        columns[answer] += count
        if label == answer:
            right[label] += count
    total = sum(counts)
    if not total:
        return [None] * (2 + len(names))
    both = {name: rows[name] + columns[name] for name in names}
    f1 = [2 * right[name] / both[name] if both[name] else None for name in names]
    there = [each for each in f1 if each is not None]
    by_chance = sum(rows[name] * columns[name] for name in names) / (total * total)
    agreed = sum(right.values()) / total
    kappa = None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
    return [kappa, sum(there) / len(there), *f1]
