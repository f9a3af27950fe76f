"""The rules: each is a function from an invoice to a finding or None.

`RULES` is all of them. A finding with a refund wins over one that only asks for a person's look, a
larger refund over a smaller; the explanation names every finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from rowfleet.cells import plain
from worker.analyzers.rules.figures import WIDE
from worker.analyzers.rules.invoice import Invoice

CENT = Decimal("0.01")

#: Highest standard rate of VAT or sales tax in the world: Hungary's 27 %, in force since 2012.
#: European Commission, "Taxes in Europe" database; OECD, "Consumption Tax Trends".
HIGHEST_TAX_RATE = Decimal("0.27")

#: An amount above this, in the row's currency, is taken for a slip: it is more than a small
#: enterprise turns over in a year (EUR 10 million, EU Recommendation 2003/361/EC, article 2).
ABSURD_AMOUNT = Decimal(10_000_000)

#: ISO 4217 codes of currencies whose unit is worth less than about a US cent (2025). Their
#: ABSURD_AMOUNT is a thousand times as high.
SMALL_UNITS = frozenset(
    {"CLP", "COP", "HUF", "IDR", "IQD", "IRR", "JPY", "KHR", "KRW"}
    | {"LAK", "LBP", "MMK", "NGN", "PYG", "TZS", "UGX", "VND"}
)

#: Two figures that differ by this much are equal: each of them was rounded to cents.
ROUNDING = Decimal("0.02")

#: Half of the last place of a unit price in cents, and of a tax rate in hundredths of a percent:
#: what rounding them can make of each piece, or of each unit of money.
PRICE_ROUNDING = Decimal("0.005")
RATE_ROUNDING = Decimal("0.00005")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found."""

    basis: str
    #: One sentence with the figures.
    sentence: str
    #: Money to ask for; 0 where a person should look but nothing is provably due.
    refund: Decimal = Decimal(0)
    #: How sure refund_eligible is, in percent.
    confidence: int = 60


def duplicate(invoice: Invoice) -> Finding | None:
    """The batch has an earlier row with the same identity: what this one cost is due back."""
    if not invoice.duplicate_of:
        return None
    earlier = ", ".join(map(str, invoice.duplicate_of[:5]))
    same = " and ".join(invoice.identity) or "identity"
    sentence = f"Same {same} as row {earlier} of this sheet."
    return Finding("duplicate_invoice", sentence, max(Decimal(0), invoice.paid or Decimal(0)), 90)


def amount_is_not_quantity_times_price(invoice: Invoice) -> Finding | None:
    """Quantity times unit price is not the amount; too much is due back."""
    amount, quantity, price = invoice.amount, invoice.quantity, invoice.unit_price
    if amount is None or quantity is None or price is None:
        return None
    expected = cents(quantity * price)
    excess = amount - expected
    if abs(excess) <= ROUNDING + abs(quantity) * PRICE_ROUNDING:
        return None
    if excess < 0 and invoice.discount:
        return None
    if invoice.amount_has_tax and invoice.tax and abs(excess - invoice.tax) <= ROUNDING:
        return None
    sentence = (
        f"Quantity {quantity:f} times unit price {price:f} is {money(expected)}, "
        f"but the amount is {money(amount)}."
    )
    return Finding("arithmetic_error", sentence, max(Decimal(0), excess), 85)


def total_is_not_the_sum(invoice: Invoice) -> Finding | None:
    """Amount plus tax plus shipping is not the total; too much is due back."""
    if invoice.amount is None or invoice.tax is None or invoice.total is None:
        return None
    expected = invoice.amount + invoice.tax + invoice.shipping
    excess = invoice.total - expected
    if abs(excess) <= ROUNDING or invoice.amount_has_tax or (excess < 0 and invoice.discount):
        return None
    shipping = f" plus shipping {money(invoice.shipping)}" if invoice.shipping else ""
    sentence = (
        f"Amount {money(invoice.amount)} plus tax {money(invoice.tax)}{shipping} is "
        f"{money(expected)}, but the total is {money(invoice.total)}."
    )
    return Finding("arithmetic_error", sentence, max(Decimal(0), excess), 85)


def tax_is_not_the_rate(invoice: Invoice) -> Finding | None:
    """The tax is not the amount times the row's own rate; too much is due back."""
    amount, tax, rate = invoice.amount, invoice.tax, invoice.tax_rate
    if amount is None or tax is None or rate is None or rate < 0:
        return None
    expected = cents(amount * rate)
    if invoice.amount_has_tax:
        expected = cents(amount - amount / (1 + rate))
    slack = ROUNDING + abs(amount) * RATE_ROUNDING
    shipped = invoice.shipping * rate
    if abs(tax - expected) <= slack or abs(tax - expected - shipped) <= slack:
        return None
    sentence = (
        f"Tax at {percent(rate)} of {money(amount)} is {money(expected)}, "
        f"but the tax is {money(tax)}."
    )
    return Finding("excess_tax", sentence, max(Decimal(0), tax - expected), 85)


def tax_is_above_every_rate(invoice: Invoice) -> Finding | None:
    """The tax is more than the world's highest standard rate makes of the amount."""
    if invoice.amount is None or invoice.tax is None or invoice.amount <= 0:
        return None
    most = cents((invoice.amount + max(Decimal(0), invoice.shipping)) * HIGHEST_TAX_RATE)
    if invoice.tax <= most + ROUNDING:
        return None
    sentence = (
        f"Tax of {money(invoice.tax)} is above {percent(HIGHEST_TAX_RATE)} of "
        f"{money(invoice.amount)}, the highest standard rate in the world ({money(most)})."
    )
    return Finding("excess_tax", sentence, invoice.tax - most, 80)


def date_is_in_the_future(invoice: Invoice) -> Finding | None:
    """The invoice is dated after the day of the audit, however its date is read."""
    if not invoice.dates or min(invoice.dates) <= invoice.today:
        return None
    sentence = f"The invoice date {min(invoice.dates).isoformat()} is in the future."
    return Finding("wrong_date", sentence)


def amount_is_negative(invoice: Invoice) -> Finding | None:
    """A credit is the company's money already: nothing to ask for, but worth a look."""
    for name, figure in (("amount", invoice.amount), ("total", invoice.total)):
        if figure is not None and figure < 0:
            return Finding("implausible_amount", f"The {name} {money(figure)} is negative.")
    return None


def amount_is_absurd(invoice: Invoice) -> Finding | None:
    """The amount is out of all proportion; what it should be can't be told from the row."""
    limit = ABSURD_AMOUNT * (1000 if invoice.currency in SMALL_UNITS else 1)
    for name, figure in (("amount", invoice.amount), ("total", invoice.total)):
        if figure is not None and figure > limit:
            sentence = f"The {name} {money(figure)} is above {limit:,f}: perhaps a slipped point."
            return Finding("implausible_amount", sentence)
    return None


def amount_is_unreadable(invoice: Invoice) -> Finding | None:
    """Without an amount the row can't be judged."""
    if invoice.amount is not None:
        return None
    cell = plain(invoice.cells.get("amount"))
    shown = (
        f"{cell[:40]!r}, which is no number"
        if isinstance(cell, str) and cell.strip()
        else "missing or no number"
    )
    return Finding("insufficient_data", f"The amount is {shown}.", confidence=30)


def row_is_no_invoice(invoice: Invoice) -> Finding | None:
    """Without number and date there is nothing to compare, or to ask money back by.

    Text where the vendor stands makes no invoice: a row of totals has `Total` there.
    """
    if any(str(plain(invoice.cells.get(name)) or "").strip() for name in ("invoicenumber", "date")):
        return None
    sentence = "Invoice number and date are missing: not enough to judge."
    return Finding("insufficient_data", sentence, confidence=30)


Rule = Callable[[Invoice], Finding | None]

#: All rules; of findings that weigh the same, the first here is the basis.
RULES: tuple[Rule, ...] = (
    duplicate,
    amount_is_not_quantity_times_price,
    total_is_not_the_sum,
    tax_is_not_the_rate,
    tax_is_above_every_rate,
    amount_is_negative,
    amount_is_absurd,
    date_is_in_the_future,
    amount_is_unreadable,
    row_is_no_invoice,
)


def cents(number: Decimal) -> Decimal:
    """Return the number rounded to cents, half up."""
    return number.quantize(CENT, ROUND_HALF_UP, WIDE)


def money(number: Decimal) -> str:
    """Return an amount as a sentence shows it: `1,234.50`."""
    return f"{cents(number):,f}"


def percent(fraction: Decimal) -> str:
    """Return a rate as a sentence shows it: `20 %`."""
    return f"{(fraction * 100).normalize():f} %"
