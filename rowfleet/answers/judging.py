"""An answer that fits the recipe's schema is judged by what else the recipe says of it.

Every way to an answer comes through here: the `openai` analyzer, the `rules` analyzer, those of
other packages, and the Batch API's answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rowfleet.answers.reasons import Reason

if TYPE_CHECKING:
    from rowfleet.analysis import Question


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer, and what is to become of it."""

    #: The answer, with the fields that are computed.
    output: dict[str, Any]
    #: Told to the model, which answers once more. What is left then is a reason to review.
    to_mend: tuple[Reason, ...] = ()
    #: Reasons why a person should look at the row.
    reasons: tuple[Reason, ...] = ()
    #: The row fails with this.
    failure: str | None = None
    #: Whether the recipe's rule approves the row.
    is_approved: bool = False

    @property
    def all_reasons(self) -> tuple[Reason, ...]:
        """The reasons to review of a row that is not asked about again."""
        return (*self.to_mend, *self.reasons)


def judge(question: Question, output: dict[str, Any]) -> Judged:
    """Judge an answer that fits the schema. A recipe that says nothing of answers costs nothing."""
    return Judged(output)
