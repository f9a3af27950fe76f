"""Exact arithmetic: amounts are decimals, and nothing is rounded but the result.

CEL reckons with doubles, in which 0.1 + 0.2 is not 0.3. Here a number is the decimal that a person
sees, and a result is a fraction, so that a quotient is exact, too.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

#: Digits of a number that a spreadsheet program keeps and shows: those behind them are an error of
#: its binary arithmetic. https://support.microsoft.com/office/excel-specifications-and-limits
DIGITS: Final = 15

#: Bits of a fraction's numerator and denominator, at most: beyond those, no amount is meant.
_MOST_BITS: Final = 4_096

Rounding = Literal["half_up", "half_even", "down", "up"]


class NotReckoned(ValueError):
    """Values that can't be reckoned with; the text says why, without a value."""


def exact(number: float) -> Fraction:
    """Return a number as the decimal of 15 digits that a person sees of it."""
    if isinstance(number, int) and abs(number) < 10**DIGITS:
        return Fraction(number)
    try:
        return Fraction(f"{number:.{DIGITS}g}")
    except (ValueError, OverflowError):
        raise NotReckoned("a number is infinite, or none") from None


def reckon(operator: str, left: Fraction, right: Fraction) -> Fraction:
    """Return the result of ``+``, ``-``, ``*``, ``/`` or ``%``, which rounds towards 0, as in CEL.

    Raises NotReckoned for a division by zero, and for a result out of all bounds.
    """
    match operator:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case _ if not right:
            raise NotReckoned("it divides by zero")
        case "/":
            result = left / right
        case _:
            result = left - right * int(left / right)
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MOST_BITS:
        raise NotReckoned("a number is too large")
    return result


def rounded(value: Fraction, decimals: int, rounding: Rounding) -> Decimal:
    """Return the value with so many decimals, rounded once.

    ``half_up`` rounds a half away from zero, as invoices do, ``half_even`` to the even digit;
    ``down`` rounds towards zero and ``up`` away from it.
    """
    scaled = abs(value) * 10**decimals
    digits, rest = divmod(scaled.numerator, scaled.denominator)
    half = (2 * rest > scaled.denominator) - (2 * rest < scaled.denominator)
    match rounding:
        case "half_up":
            digits += half >= 0
        case "half_even":
            digits += half > 0 or (half == 0 and digits % 2)
        case "up":
            digits += rest > 0
    sign = "-" if value < 0 and digits else ""
    return Decimal(f"{sign}{digits}E-{decimals}")
