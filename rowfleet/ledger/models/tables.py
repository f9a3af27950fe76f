"""What the classes of all tables share."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import JSON, Numeric
from sqlalchemy.orm import DeclarativeBase

#: PostgreSQL's `json`, not `jsonb`: it keeps key order, and takes the NUL that a cell may hold.
Json = JSON(none_as_null=True)
#: Dollars, to a ten-thousandth of a cent: a row's share of a cheap model's price is below a cent.
Dollars = Numeric(16, 8, asdecimal=False)


class Base(DeclarativeBase):
    """Declarative base of the ledger's tables."""


def is_one_of(members: Iterable[str], column: str = "status") -> str:
    """Return the condition that a column is one of these."""
    listed = ", ".join(f"'{member}'" for member in members)
    return f"{column} IN ({listed})"
