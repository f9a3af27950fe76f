"""The `rules` analyzer: audits an invoice by arithmetic alone, offline and the same every time.

It fills the output of the recipe invoice-refunds. Each rule is a function from an invoice to a
finding or None; `RULES` is all of them. A finding with a refund wins over one that only asks for
a person's look, a larger refund over a smaller; the explanation names every finding.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from rowfleet.cells import Cell, plain
from rowfleet.recipes import validation
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe
from worker.analyzers import Answer, Misconfigured, Question

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

#: Figures of 10**MOST_DIGITS and more are no money but a number in the wrong cell. Excel itself
#: keeps 15 digits.
MOST_DIGITS = 15

#: Wide enough for the product of two figures of MOST_DIGITS, in cents.
WIDE = Context(prec=60)

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

FIELDS = ("refund_eligible", "basis", "estimated_refund", "confidence", "explanation")


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

    @property
    def paid(self) -> Decimal | None:
        """What the invoice cost altogether."""
        if self.total is not None or self.amount is None:
            return self.total
        return self.amount + (self.tax or 0) + self.shipping

    @property
    def amount_has_tax(self) -> bool:
        """Whether Amount is what was paid, tax included, so that Total repeats it."""
        return self.total is not None and self.total == self.amount


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
    sentence = f"Same {same} as row {earlier} of this batch (rows count from 0 below the header)."
    return Finding("duplicate_invoice", sentence, max(Decimal(0), invoice.paid or Decimal(0)), 90)


def amount_is_not_quantity_times_price(invoice: Invoice) -> Finding | None:
    """Quantity times unit price is not the amount; too much is due back."""
    amount, quantity, price = invoice.amount, invoice.quantity, invoice.unit_price
    if amount is None or quantity is None or price is None:
        return None
    expected = _cents(quantity * price)
    excess = amount - expected
    if abs(excess) <= ROUNDING + abs(quantity) * PRICE_ROUNDING:
        return None
    if excess < 0 and invoice.discount:
        return None
    if invoice.amount_has_tax and invoice.tax and abs(excess - invoice.tax) <= ROUNDING:
        return None
    sentence = (
        f"Quantity {quantity:f} times unit price {price:f} is {_money(expected)}, "
        f"but the amount is {_money(amount)}."
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
    shipping = f" plus shipping {_money(invoice.shipping)}" if invoice.shipping else ""
    sentence = (
        f"Amount {_money(invoice.amount)} plus tax {_money(invoice.tax)}{shipping} is "
        f"{_money(expected)}, but the total is {_money(invoice.total)}."
    )
    return Finding("arithmetic_error", sentence, max(Decimal(0), excess), 85)


def tax_is_not_the_rate(invoice: Invoice) -> Finding | None:
    """The tax is not the amount times the row's own rate; too much is due back."""
    amount, tax, rate = invoice.amount, invoice.tax, invoice.tax_rate
    if amount is None or tax is None or rate is None or rate < 0:
        return None
    expected = _cents(amount * rate)
    if invoice.amount_has_tax:
        expected = _cents(amount - amount / (1 + rate))
    slack = ROUNDING + abs(amount) * RATE_ROUNDING
    shipped = invoice.shipping * rate
    if abs(tax - expected) <= slack or abs(tax - expected - shipped) <= slack:
        return None
    sentence = (
        f"Tax at {_percent(rate)} of {_money(amount)} is {_money(expected)}, "
        f"but the tax is {_money(tax)}."
    )
    return Finding("excess_tax", sentence, max(Decimal(0), tax - expected), 85)


def tax_is_above_every_rate(invoice: Invoice) -> Finding | None:
    """The tax is more than the world's highest standard rate makes of the amount."""
    if invoice.amount is None or invoice.tax is None or invoice.amount <= 0:
        return None
    most = _cents((invoice.amount + max(Decimal(0), invoice.shipping)) * HIGHEST_TAX_RATE)
    if invoice.tax <= most + ROUNDING:
        return None
    sentence = (
        f"Tax of {_money(invoice.tax)} is above {_percent(HIGHEST_TAX_RATE)} of "
        f"{_money(invoice.amount)}, the highest standard rate in the world ({_money(most)})."
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
            return Finding("implausible_amount", f"The {name} {_money(figure)} is negative.")
    return None


def amount_is_absurd(invoice: Invoice) -> Finding | None:
    """The amount is out of all proportion; what it should be can't be told from the row."""
    limit = ABSURD_AMOUNT * (1000 if invoice.currency in SMALL_UNITS else 1)
    for name, figure in (("amount", invoice.amount), ("total", invoice.total)):
        if figure is not None and figure > limit:
            sentence = f"The {name} {_money(figure)} is above {limit:,f}: perhaps a slipped point."
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


def latest_day_on_earth() -> date:
    """Return today's date where it begins first (UTC+14): what is later is future everywhere."""
    return datetime.now(timezone(timedelta(hours=14))).date()


class RulesAnalyzer:
    """Answers with the rules. Thread-safe, and never raises because of what a cell holds."""

    name = "rules"

    def __init__(self, today: Callable[[], date] = latest_day_on_earth) -> None:
        """``today`` gives the day of the audit; invoices dated after it are in the future."""
        self._today = today
        self._checked: Recipe | None = None

    def answer(self, question: Question) -> Answer:
        """Return the answer. Raises Misconfigured for a recipe whose output it can't fill."""
        if question.recipe is not self._checked:
            check_fillable(question.recipe)
            self._checked = question.recipe
        invoice = read_invoice(question, self._today())
        output = _output([found for rule in RULES if (found := rule(invoice))])
        wanted = question.recipe.output["properties"]
        return Answer({field: output[field] for field in wanted})


def check_fillable(recipe: Recipe) -> None:
    """Raise Misconfigured unless every output of the rules is valid for ``recipe``."""
    fields = list(recipe.output["properties"])
    unknown = [field for field in fields if field not in FIELDS]
    if unknown:
        raise Misconfigured(
            f"the rules analyzer fills only the output of the recipe invoice-refunds, and the "
            f"recipe {recipe.name!r} asks for {', '.join(unknown)}; use the openai analyzer"
        )
    validator = validation.validator(recipe.output)
    for basis in BASES:
        finding = Finding(basis, "A sentence.", Decimal("12.34"), 50)
        for findings in ([], [finding]):
            output = _output(findings)
            problem = validation.first_problem(
                validator, {field: output[field] for field in fields}
            )
            if problem is not None:
                where, what = problem
                raise Misconfigured(
                    f"the rules analyzer can't fill {where} as the recipe {recipe.name!r} defines "
                    f"it: {what:.200}"
                )


def _output(findings: list[Finding]) -> dict[str, Any]:
    if not findings:
        return {
            "refund_eligible": False,
            "basis": "none",
            "estimated_refund": 0.0,
            "confidence": 70,
            "explanation": "Rules: figures, tax, date and identity show nothing wrong.",
        }
    weightiest = max(findings, key=lambda finding: finding.refund)
    refund = _cents(weightiest.refund)
    return {
        "refund_eligible": refund > 0,
        "basis": weightiest.basis,
        "estimated_refund": float(refund),
        "confidence": weightiest.confidence,
        "explanation": "Rules: " + " ".join(finding.sentence for finding in findings),
    }


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
        discount=figure(_without_percent(cells.get("discount"))) or Decimal(0),
        tax_rate=rate(cells.get("taxrate")),
        currency=_code(cells.get("currency")),
        dates=readings(cells.get("date")),
        identity=question.recipe.identity,
        duplicate_of=tuple(question.duplicate_of),
        today=today,
    )


#: A currency as letters: an ISO 4217 code or a usual short form. What is left of "US$" counts; a
#: "k" or "MIO" does not, which would make another number of it.
_LETTERS = r"(?:(?!MIO|MRD|TSD)[A-Z]{3}|US|CA|AU|NZ|HK|[RACS]|[Kk]r|Rs|Fr|Ft|Kč|zł|lei)\.?"
_CURRENCY = re.compile(rf"^{_LETTERS}\s*(?=[\d.(+-])|(?<=[\d.)-])\s*{_LETTERS}$")

#: Spaces and apostrophes between groups of three digits.
_GROUPING = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")

#: How a figure can be written → what to remove, and what stands for the decimal point.
_FORMS = (
    # 1,234  1,234.50  12,34,567.00 (India)
    (re.compile(r"[1-9]\d{0,2}(,\d{2,3})*,\d{3}(\.\d+)?"), ",", "."),
    # 1.234,50  1.234.567,50
    (re.compile(r"[1-9]\d{0,2}(\.\d{3})+,\d+"), ".", ","),
    # 1.234.567
    (re.compile(r"[1-9]\d{0,2}(\.\d{3}){2,}"), ".", ","),
    # 1234  1234.50  .50  0.125, but not 1.234
    (re.compile(r"(?![1-9]\d{0,2}\.\d{3}$)(\d+\.?\d*|\.\d+)"), "", "."),
    # 1234,50
    (re.compile(r"\d*,\d+"), "", ","),
)


def figure(cell: Cell) -> Decimal | None:
    """Return the number in ``cell``, exact, or None if it holds none that is beyond doubt.

    Reads text with a currency, grouped digits, a decimal comma, and a negative in parentheses
    or with a trailing minus. A lone comma before three digits groups them ("1,234"); a lone
    point there can mean either ("1.234"), so that is None.
    """
    match cell:
        case bool():
            return None
        case int():
            return _bounded(Decimal(cell))
        case float():
            # repr gives the digits a person sees, where Decimal(0.1) gives 55 of them.
            return _bounded(Decimal(repr(cell)))
        case str() if len(cell) <= 64:
            return _figure_in_text(cell)
    return None


def _bounded(number: Decimal) -> Decimal | None:
    if not number.is_finite() or (number and number.adjusted() >= MOST_DIGITS):
        return None
    return number


def _figure_in_text(text: str) -> Decimal | None:
    text = unicodedata.normalize("NFKC", text).replace("−", "-")
    text = "".join(char for char in text if unicodedata.category(char) != "Sc").strip()
    text = _CURRENCY.sub("", text).strip()
    negative = True
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    elif text.startswith("-"):
        text = text[1:].strip()
    elif text.endswith("-"):
        text = text[:-1].strip()
    else:
        negative = False
    text = _GROUPING.sub("", _CURRENCY.sub("", text.removeprefix("+")).strip())
    for form, grouping, point in _FORMS:
        if text.isascii() and form.fullmatch(text):
            digits = text.replace(grouping, "") if grouping else text
            number = _bounded(Decimal(digits.replace(point, ".")))
            return -number if number is not None and negative else number
    return None


def rate(cell: Cell) -> Decimal | None:
    """Return a tax rate as a fraction: 0.19, 19, "19 %" and "19" are all 0.19."""
    bare = _without_percent(cell)
    number = figure(bare)
    if number is None:
        return None
    return number / 100 if bare != cell or abs(number) >= 1 else number


def _without_percent(cell: Cell) -> Cell:
    if isinstance(cell, str) and cell.rstrip().endswith("%"):
        return cell.rstrip().removesuffix("%")
    return cell


def _code(cell: Cell) -> str:
    return cell.strip().upper() if isinstance(cell, str) else ""


#: Ways a date is written as text, beside ISO 8601. Both orders of day and month are tried.
_DATES = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
)


def readings(cell: Cell) -> tuple[date, ...]:
    """Return the dates ``cell`` can mean: none if it is no date, two for 03/04/2025."""
    if isinstance(cell, datetime):
        return (cell.date(),)
    if isinstance(cell, date):
        return (cell,)
    if not isinstance(cell, str):
        return ()
    text = cell.strip()
    found = []
    with suppress(ValueError):
        found.append(datetime.fromisoformat(text).date())
    for form in _DATES:
        with suppress(ValueError):
            found.append(datetime.strptime(text, form).date())
    return tuple(found)


def _cents(number: Decimal) -> Decimal:
    return number.quantize(CENT, ROUND_HALF_UP, WIDE)


def _money(number: Decimal) -> str:
    return f"{_cents(number):,f}"


def _percent(fraction: Decimal) -> str:
    return f"{(fraction * 100).normalize():f} %"
