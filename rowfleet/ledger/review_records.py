"""Values of a review: what people decided, and how they did. Plain records, without SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rowfleet.ledger.statuses import Verdict

#: Values of a row's answer by the properties of the recipe's output.
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A person's decision, before it is recorded."""

    number: int  #: Of the row.
    #: The newest decision that the person saw, 0 for none.
    seen: int
    verdict: Verdict
    reviewer: str
    #: The row's values from now on; None: it has none.
    after: Values | None
    note: str | None = None
    #: What the recipe's checks still say of these values, as the ledger keeps reasons.
    reasons: Sequence[Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision as it was recorded; see the table `decisions`."""

    number: int
    version: int
    verdict: str
    reviewer: str
    decided_at: datetime
    before: Values | None
    after: Values | None
    reasons: Sequence[Mapping[str, str]] | None
    note: str | None
    file_hash: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of decisions that were to be recorded, each by its row's number."""

    made: tuple[int, ...] = ()
    #: The newest decision on these rows was the same already.
    unchanged: tuple[int, ...] = ()
    #: Rows that were decided since the person saw them, with the newest decision. If there are any,
    #: nothing is recorded.
    later: tuple[DecisionRecord, ...] = ()
    #: Rows that are not there or not done. If there are any, nothing is recorded.
    undone: tuple[int, ...] = ()
