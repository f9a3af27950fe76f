"""The rules that compare a row with the invoice that it names: each is as those in `rules`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from worker.analyzers.rules.invoice import Invoice
from worker.analyzers.rules.invoice_text import InvoiceLine, InvoiceText, Place
from worker.analyzers.rules.rules import (
    PRICE_ROUNDING,
    RATE_ROUNDING,
    ROUNDING,
    Finding,
    cents,
    money,
    percent,
)

#: Every basis that only a document can show.
DOCUMENT_BASES = ("differs_from_invoice", "not_on_invoice", "another_invoice")


@dataclass(frozen=True, slots=True)
class Compared:
    """A row, and what its invoice says of it."""

    row: Invoice
    text: InvoiceText
    #: The row's own invoice number, where the invoice has it.
    number: Place | None
    #: The row's line, where the invoice has it.
    line: InvoiceLine | None


def compare(row: Invoice, text: InvoiceText) -> Compared:
    """Find the row's number and line in its invoice."""
    lines = text.lines_of(row.cell("description"))
    number = text.find(row.cell("invoicenumber"))
    # Of several lines with one description, the row is about the one that agrees most.
    line = min(lines, key=lambda line: len(_differing(row, line)), default=None)
    return Compared(row, text, number, line)


def invoice_is_another_one(compared: Compared) -> Finding | None:
    """The invoice does not have the row's number: it proves nothing about the row."""
    number = compared.row.cell("invoicenumber")
    if compared.number is not None or not number:
        return None
    sentence = f"The invoice number {number[:40]} is not in the document."
    return Finding("another_invoice", sentence)


def line_is_not_there(compared: Compared) -> Finding | None:
    """The invoice has the row's number, but no line with its description."""
    description = compared.row.cell("description")
    if compared.number is None or compared.line is not None or not description:
        return None
    return Finding("not_on_invoice", f"The invoice has no line {description[:60]!r}.")


def figures_differ(compared: Compared) -> Finding | None:
    """The row has another quantity, price, tax rate or amount than its line; the excess is due."""
    row, line = compared.row, compared.line
    if compared.number is None or line is None:
        return None
    differences = _differing(row, line)
    if not differences:
        return None
    refund = Decimal(0)
    if row.amount is not None:
        rates = [rate for rate in (row.tax_rate, line.tax_rate) if rate is not None]
        paid = row.amount * (1 + (rates[0] if rates else 0))
        refund = cents(max(Decimal(0), paid - line.amount * (1 + (rates[-1] if rates else 0))))
    sentence = f"The invoice (page {line.place.page}) has {' and '.join(differences)}."
    return Finding("differs_from_invoice", sentence, refund, 90)


def currency_differs(compared: Compared) -> Finding | None:
    """The invoice names currencies, and not the row's."""
    codes = compared.text.currencies()
    if compared.number is None or not compared.row.currency or not codes:
        return None
    if compared.row.currency in codes:
        return None
    named = " and ".join(sorted(codes)[:3])
    sentence = f"The invoice is in {named}, the row in {compared.row.currency[:8]}."
    return Finding("differs_from_invoice", sentence)


#: All of them; of findings that weigh the same, the first here is the basis.
DOCUMENT_RULES: tuple[Callable[[Compared], Finding | None], ...] = (
    figures_differ,
    currency_differs,
    line_is_not_there,
    invoice_is_another_one,
)


def _differing(row: Invoice, line: InvoiceLine) -> list[str]:
    """Return in words each figure of the line that is not the row's."""
    found = []
    for name, billed, claimed, slack, shown in (
        ("quantity", line.quantity, row.quantity, Decimal(0), _plain),
        ("unit price", line.unit_price, row.unit_price, PRICE_ROUNDING, _plain),
        ("tax at", line.tax_rate, row.tax_rate, RATE_ROUNDING, percent),
        ("amount", line.amount, row.amount, ROUNDING, money),
    ):
        if billed is not None and claimed is not None and abs(billed - claimed) > slack:
            found.append(f"{name} {shown(billed)}, not {shown(claimed)}")
    return found


def _plain(number: Decimal) -> str:
    return f"{number:f}"
