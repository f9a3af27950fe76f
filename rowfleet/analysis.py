"""A question about one row, its answer, and the ways it can fail.

The exception decides the row's fate: `Transient` is tried again later, `Postponed` too but without
that counting, `Permanent` fails the row, `Misconfigured` stops the whole batch with its sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rowfleet.answers.reasons import Reason
from rowfleet.cells import Value
from rowfleet.documents.asked import AskedDocument
from rowfleet.masking import outside
from rowfleet.recipes.recipe import Recipe
from rowfleet.stopwatch import Stopwatch
from rowfleet.usage import UNANSWERED, Usage

if TYPE_CHECKING:
    from rowfleet.answers.judging import Judged

__all__ = [
    "UNANSWERED",
    "AnalysisError",
    "Answer",
    "Misconfigured",
    "Permanent",
    "Postponed",
    "Question",
    "Transient",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class Question:
    """One row, and the question about it."""

    recipe: Recipe
    model: str
    #: As a spreadsheet program shows it: an answer may name it, and the finished sheet shows both.
    row_number: int
    #: The row's sent cells by the recipe's column names, in the recipe's order.
    cells: Mapping[str, Value]
    #: Earlier rows of the batch with the same identity columns, in order, by such numbers.
    duplicate_of: Sequence[int] = ()
    #: Seconds the answer may take altogether.
    time_limit: float = 540.0
    #: Stands still while the question waits for its turn at the API.
    clock: Stopwatch = field(default_factory=Stopwatch)
    #: What a person sees of the cells whose number format says more than digits, such as `£102.00`
    #: or `25.0%`, by the same names. A model is sent it instead of the number.
    shown: Mapping[str, str] = field(default_factory=dict)
    #: The documents that the row names, in order. Answers count them from 1.
    documents: Sequence[AskedDocument] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The output, valid against the recipe's schema, and what it used."""

    output: dict[str, Any]
    usage: Usage = field(default_factory=Usage)
    #: Reasons why a person should look at it, and whether the recipe's rule approves it.
    reasons: tuple[Reason, ...] = ()
    is_approved: bool = False


def answer_of(judged: Judged, usage: Usage) -> Answer:
    """Return a judged answer that is not asked about again. Raises Permanent if its row fails."""
    if judged.failure is not None:
        raise Permanent("the answer failed a check", usage, said=judged.failure)
    return Answer(judged.output, usage, judged.all_reasons, judged.is_approved)


class AnalysisError(Exception):
    """A row's question got no usable answer. ``usage`` counts the paid calls all the same.

    ``reason`` is in our words, and all that logs and events may name. ``said`` is what the API, or
    its answer, said: it may quote the row or the key, and is masked and bounded here.
    """

    #: Whether every row of the batch may be meant.
    is_doubtful = False

    def __init__(self, reason: str, usage: Usage | None = None, *, said: object = None) -> None:
        self.reason = reason
        self.said = "" if said is None else outside(said)
        super().__init__(f"{reason}: {self.said}" if self.said else reason)
        self.usage = usage or Usage()


class Transient(AnalysisError):
    """Worth another try. ``retry_after`` is the seconds the API asked for, if it did."""

    def __init__(
        self,
        reason: str,
        usage: Usage | None = None,
        retry_after: float | None = None,
        *,
        said: object = None,
    ) -> None:
        super().__init__(reason, usage, said=said)
        self.retry_after = retry_after


class Postponed(AnalysisError):
    """Not the row's fault, and no try: it goes on in ``delay`` seconds, here or elsewhere."""

    def __init__(
        self, reason: str, usage: Usage | None = None, delay: float = 0, *, said: object = None
    ) -> None:
        super().__init__(reason, usage, said=said)
        self.delay = delay


class Permanent(AnalysisError):
    """The same question would fail the same way again."""


class Misconfigured(AnalysisError):
    """No row of the batch can succeed until a person mends something (a key, a model's name)."""
