"""Reasons why a person should look at an answered row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rowfleet.masking import outside

#: Reasons that a row keeps, and characters of the message of each: a page of a review, not a log.
MOST_REASONS, LONGEST_MESSAGE = 20, 300


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason to look at an answer."""

    #: The check that failed, such as the `name` of one of the recipe's `checks`.
    name: str
    #: A sentence for the reviewer. It may quote a cell or the answer, so no log has it.
    message: str
    #: The property of the answer that is meant, if it is one.
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def encode(reasons: Iterable[Reason]) -> list[dict[str, str]]:
    """Return reasons as the ledger keeps them: bounded, each on one line."""
    return [
        {
            "name": reason.name,
            "message": outside(reason.message, LONGEST_MESSAGE),
            **({} if reason.field is None else {"field": reason.field}),
        }
        for reason in list(reasons)[:MOST_REASONS]
    ]


def decode(encoded: Iterable[Mapping[str, Any]] | None) -> tuple[Reason, ...]:
    """Return the reasons that the ledger keeps of a row; none for a row without any."""
    return tuple(Reason(each["name"], each["message"], each.get("field")) for each in encoded or ())
