"""Amounts, rates and dates, read from cells as people write them."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from datetime import date, datetime
from decimal import Context, Decimal

from rowfleet.cells import Cell

#: Figures of 10**MOST_DIGITS and more are no money but a number in the wrong cell. Excel itself
#: keeps 15 digits.
MOST_DIGITS = 15

#: Wide enough for the product of two figures of MOST_DIGITS, in cents.
WIDE = Context(prec=60)

#: A currency as letters: an ISO 4217 code or a usual short form. The rest of "US$" counts; a
#: "k" or "MIO" does not, which would make another number of it.
_LETTERS = r"(?:(?!MIO|MRD|TSD)[A-Z]{3}|US|CA|AU|NZ|HK|[RACS]|[Kk]r|Rs|Fr|Ft|Kč|zł|lei)\.?"

_CURRENCY = re.compile(rf"^{_LETTERS}\s*(?=[\d.(+-])|(?<=[\d.)-])\s*{_LETTERS}$")

#: Spaces and apostrophes between groups of three digits.
_GROUPING = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")

#: How a figure can be written → the characters to remove, and the decimal point.
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
    bare = without_percent(cell)
    number = figure(bare)
    if number is None:
        return None
    return number / 100 if bare != cell or abs(number) >= 1 else number


def without_percent(cell: Cell) -> Cell:
    """Return the cell without a percent sign at its end."""
    if isinstance(cell, str) and cell.rstrip().endswith("%"):
        return cell.rstrip().removesuffix("%")
    return cell


def code(cell: Cell) -> str:
    """Return the cell as a code: upper case, without blanks around; empty if it holds no text."""
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
