"""Conditions that an evaluation must meet: `accuracy=0.95`, `basis.recall.low=0.8`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rowfleet.errors import InputError
from submitter.evaluation.evaluation import Evaluation, PropertyFigures
from submitter.evaluation.intervals import Estimate

#: Ends the name of a figure where the lower end of its interval counts.
LOW = ".low"


def _of_classes(name: str) -> Figure:
    """Return the figure of each class that has rows."""

    def figures(each: PropertyFigures) -> Sequence[Estimate | None]:
        classes = () if each.confusion is None else each.confusion.classes
        return [getattr(one, name) for one in classes if one.labelled] or [None]

    return figures


#: Returns a figure of a property. Of several each one must reach the value; None is no figure.
Figure = Callable[[PropertyFigures], Sequence[Estimate | None]]

#: Figures by the name that a condition has for them.
FIGURES: dict[str, Figure] = {
    "accuracy": lambda each: [each.accuracy],
    "precision": _of_classes("precision"),
    "recall": _of_classes("recall"),
    "macro_f1": lambda each: [None if each.confusion is None else each.confusion.macro_f1],
    "kappa": lambda each: [None if each.confusion is None else each.confusion.kappa],
    "auc": lambda each: [None if each.calibration is None else each.calibration.auc],
    "answered": lambda each: [Estimate(each.answered / each.labelled) if each.labelled else None],
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A figure, and the value below which the evaluation fails."""

    text: str
    #: None: every property that is compared.
    property: str | None
    figure: str
    is_low: bool
    least: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition is met by a property, and by which value; None: it has no such figure."""

    condition: str
    property: str
    value: float | None
    is_met: bool


def parse(text: str) -> Gate:
    """Return the condition that ``text`` says. Raises InputError if it says none."""
    name, equals, number = text.rpartition("=")
    name = name.strip()
    is_low = name.endswith(LOW)
    property_, _, figure = name.removesuffix(LOW).rpartition(".")
    try:
        least = float(number)
    except ValueError:
        least = -1.0
    if not equals or figure not in FIGURES or not 0 <= least <= 1:
        raise InputError(
            f"--fail-under {text!r}: write FIGURE=VALUE with a value from 0 to 1, as in "
            f"accuracy=0.95; figures are {', '.join(FIGURES)}"
        )
    return Gate(text, property_ or None, figure, is_low, least)


def verdicts(gates: Sequence[Gate], evaluation: Evaluation) -> Iterator[Verdict]:
    """Yield how each condition stands. Raises InputError for a property that is not compared."""
    names = [each.property for each in evaluation.properties]
    for gate in gates:
        if gate.property is not None and gate.property not in names:
            raise InputError(
                f"--fail-under {gate.text!r}: {gate.property!r} is not compared; "
                f"--against compares {', '.join(names)}"
            )
        for each in evaluation.properties:
            if gate.property in (None, each.property):
                yield _verdict(gate, each)


def _verdict(gate: Gate, each: PropertyFigures) -> Verdict:
    values = [
        None if found is None else found.low if gate.is_low else found.value
        for found in FIGURES[gate.figure](each)
    ]
    known = [value for value in values if value is not None]
    value = min(known) if known else None
    is_met = len(known) == len(values) and value is not None and value >= gate.least
    return Verdict(gate.text, each.property, value, is_met)
