"""The sheet on which a person decides: its columns, and what ties its rows to the ledger.

It is a sheet of its own behind those of the person's workbook. The rows that need review are few
among many, and come in an order of their own, the dearest doubt first. To put the person's own
sheet into that order would move rows that formulas, filters and other sheets refer to. So that
sheet keeps its order and has the answers, and each row of this one leads to its row there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rowfleet.ledger.review_records import DecisionRecord, Values
from rowfleet.ledger.statuses import Verdict
from rowfleet.recipes.recipe import Recipe

#: The name of the sheet.
TITLE = "AI_Review"

ROW, DECISION, REVIEWER, NOTE = "Row", "Decision", "Reviewer", "Note"
REASONS, PRIORITY, EARLIER, KEY = "Reasons", "Priority", "Earlier_Decision", "Review_Key"
#: What a column of corrections is called, before the header of the answer that it corrects.
CORRECTION = "Correction "

#: The column of the n-th document that a row names.
DOCUMENT = "Document_{}"

#: What a person may write under DECISION.
VERDICTS = tuple(verdict.value for verdict in Verdict)

_KEY = re.compile(r"(\S{1,64}) ([0-9]{1,9}) ([0-9]{1,9}) ([0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Key:
    """What ties a row of the sheet to what the ledger had when it was written."""

    batch_id: str
    number: int  #: Of the row.
    seen: int  #: The version of its newest decision, 0 for none.
    digest: str  #: Of the values that the person sees.

    def __str__(self) -> str:
        return f"{self.batch_id} {self.number} {self.seen} {self.digest}"


def parse_key(text: str) -> Key | None:
    """Return the key that a cell holds, None if it holds none."""
    found = _KEY.fullmatch(text.strip())
    return None if found is None else Key(found[1], int(found[2]), int(found[3]), found[4])


def digest(values: Values | None) -> str:
    """Return a short hash of a row's values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def seen_values(
    output: Values | None, decisions: Sequence[DecisionRecord], seen: int
) -> Values | None:
    """Return the values that a person sees who has seen the decisions up to the version ``seen``.

    Of a rejected row they are those that were rejected.
    """
    values = output
    for decision in decisions:
        if decision.version <= seen and decision.after is not None:
            values = decision.after
    return values


def corrections(recipe: Recipe) -> dict[str, str]:
    """Return each property of the answer that a person may correct → the header of its column.

    What is computed is computed anew from the corrections.
    """
    asked = recipe.output["properties"]
    return {name: CORRECTION + header for name, header in recipe.headers().items() if name in asked}


def choices(schema: Any) -> tuple[str, ...]:
    """Return the values that a property may have, as texts; none if the schema lists none."""
    if not isinstance(schema, Mapping):
        return ()
    listed = schema.get("enum")
    if isinstance(listed, list):
        return tuple(each if isinstance(each, str) else json.dumps(each) for each in listed)
    return ("TRUE", "FALSE") if schema.get("type") == "boolean" else ()
