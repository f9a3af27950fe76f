"""An invoice, read from a row's cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from rowfleet.analysis import Question
from rowfleet.cells import Cell, plain
from rowfleet.recipes.names import fold
from worker.analyzers.rules.figures import code, figure, rate, readings, without_percent

#: Every basis a finding can have; the recipe's enum holds them and those only a model can find.
BASES = (
    "none",
    "duplicate_invoice",
    "arithmetic_error",
    "excess_tax",
    "wrong_date",
    "implausible_amount",
    "insufficient_data",
)


@dataclass(frozen=True, slots=True)
class Invoice:
    """A row as the rules read it. A figure is None where the cell is missing or unreadable."""

    cells: Mapping[str, Cell]
    amount: Decimal | None
    tax: Decimal | None
    total: Decimal | None
    quantity: Decimal | None
    unit_price: Decimal | None
    shipping: Decimal
    discount: Decimal
    tax_rate: Decimal | None
    currency: str
    #: Possible readings of its date: 03/04/2025 has two.
    dates: tuple[date, ...]
    identity: tuple[str, ...]
    duplicate_of: tuple[int, ...]
    today: date

    def cell(self, name: str) -> str:
        """Return the text of the cell of a folded name; empty where it has none."""
        return str(plain(self.cells.get(name)) or "").strip()

    @property
    def paid(self) -> Decimal | None:
        """What the invoice cost altogether."""
        if self.total is not None or self.amount is None:
            return self.total
        return self.amount + (self.tax or 0) + self.shipping

    @property
    def amount_has_tax(self) -> bool:
        """Whether Amount is the paid sum, tax included, so that Total repeats it."""
        return self.total is not None and self.total == self.amount


def read_invoice(question: Question, today: date) -> Invoice:
    """Return the invoice that the question's cells describe, whatever is in them."""
    cells = {fold(name): cell for name, cell in question.cells.items()}
    return Invoice(
        cells=cells,
        amount=figure(cells.get("amount")),
        tax=figure(cells.get("tax")),
        total=figure(cells.get("total")),
        quantity=figure(cells.get("quantity")),
        unit_price=figure(cells.get("unitprice")),
        shipping=figure(cells.get("shipping")) or Decimal(0),
        discount=figure(without_percent(cells.get("discount"))) or Decimal(0),
        tax_rate=rate(cells.get("taxrate")),
        currency=code(cells.get("currency")),
        dates=readings(cells.get("date")),
        identity=question.recipe.identity,
        duplicate_of=tuple(question.duplicate_of),
        today=today,
    )
