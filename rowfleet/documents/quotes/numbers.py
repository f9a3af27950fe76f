"""Whether a quote holds a number, however the document writes it."""

from __future__ import annotations

import re
from decimal import Decimal

from rowfleet.documents.quotes.normal_form import with_digits

#: Digits with separators; a space groups digits by three.
_NUMBER = re.compile(r"\d+(?:[.,'\u2019]\d+)*(?:[ \u00a0\u202f]\d{3}(?!\d)(?:[.,]\d+)?)*")
_PART = re.compile(r"\d+(?:[.,'\u2019]\d+)*")
_NOT_A_DIGIT = re.compile(r"\D")
#: Digits of a number that is read; Excel itself keeps 15.
_MOST_DIGITS = 30


def holds(quote: str, value: float) -> bool:
    """Tell whether ``quote`` has the number ``value``, or its hundredfold as a percentage.

    `1,020.00`, `1.020,00`, `1 020` and `1020` are all 1020. A sign does not count: `(75.50)`,
    `75.50-` and `75.50 credit` all say -75.5. Letters that recognition takes for digits are read.
    """
    wanted = abs(Decimal(str(value)))
    return _holds(quote, wanted) or _holds(with_digits(quote), wanted)


def _holds(quote: str, wanted: Decimal) -> bool:
    for found in _NUMBER.finditer(quote):
        texts = {found[0], *_PART.findall(found[0])}
        numbers = {number for text in texts for number in _readings(text)}
        is_percentage = quote[found.end() : found.end() + 3].lstrip().startswith("%")
        if wanted in numbers or (is_percentage and wanted * 100 in numbers):
            return True
    return False


def _readings(text: str) -> set[Decimal]:
    """Return the numbers that a text can be: its last separator may part decimals, or group."""
    digits = _NOT_A_DIGIT.sub("", text)
    if len(digits) > _MOST_DIGITS:
        return set()
    found = {Decimal(digits)}
    at = max(text.rfind(separator) for separator in ".,'\u2019")
    if at >= 0:
        whole, decimals = (_NOT_A_DIGIT.sub("", part) for part in (text[:at], text[at + 1 :]))
        found.add(Decimal(f"{whole}.{decimals}"))
    return found
