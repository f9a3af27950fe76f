"""Excel's number formats: what a cell shows of its number, where that is more than digits.

A currency, a percent sign, a unit or the parentheses of a negative amount stand in the format and
not in the number. Of Excel's formats (ECMA-376 part 1, 18.8.31) this renders those of decimal
digits, with a decimal point and commas whatever the language of the program. Dates, fractions,
exponents and spelled numbers are not rendered. Decision 35 in docs/decisions says why no library
does it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache

#: Characters of a format: Excel's limit. A longer one is not rendered.
MAX_CHARS = 255
#: Parsed formats at hand; Excel keeps some 250 in a workbook.
FORMATS_AT_HAND = 1_000
#: Sections of a format: for positive and negative numbers, zero, and text.
MAX_SECTIONS = 4
#: Percent signs; each makes the number a hundred times as large.
MAX_PERCENTS = 2
#: Significant digits that Excel keeps of a number.
EXCEL_DIGITS = 15
#: Digits that the format `General` shows at most, and the number from which it has an exponent.
GENERAL_DIGITS, GENERAL_LIMIT = 10, Decimal(10) ** 11

#: Wide enough for the digits of the largest double and as many decimals as a format has characters.
_WIDE = Context(prec=700, rounding=ROUND_HALF_UP)
_EXCEL = Context(prec=EXCEL_DIGITS, rounding=ROUND_HALF_UP)
_GENERAL = Context(prec=GENERAL_DIGITS, rounding=ROUND_HALF_UP)

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|\[(?P<bracket>[^\]]*)\]|(?P<space>_.)|(?P<fill>\*.)'
    r"|(?P<general>General)|(?P<other>.)",
    re.DOTALL | re.IGNORECASE,
)
_COLOUR = re.compile(r"(?:black|blue|cyan|green|magenta|red|white|yellow|color ?\d{1,2})", re.I)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=) ?(-?\d{1,15}(?:\.\d{1,15})?)")
#: Characters outside quotes that make a format one of dates, exponents, fractions or text, or none.
_NOT_RENDERED = frozenset("dmhysegnabDMHYSEGNAB/@[]")
_DIGITS = frozenset("0#?")
#: What stands around the digits of a number and says no more than they do.
_SIGNS = "+-\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class _Section:
    """One section of a format, as the marks `0`, `#`, `?` and `.` and the literals between."""

    #: (kind, text): a digit's mark, `.`, `General`, or `""` for a literal.
    pieces: tuple[tuple[str, str], ...]
    grouped: bool
    #: By how many powers of ten the number is larger than what is shown of it.
    scale: int
    condition: tuple[str, Decimal] | None
    says_more: bool

    @property
    def literals(self) -> str:
        return "".join(text for kind, text in self.pieces if not kind)


def shown(number: float, code: str) -> str | None:
    """Return what a cell with the number format ``code`` shows, None if that is digits alone.

    None too for a format that is not rendered or shows nothing. Blanks are single and not at an
    end.
    """
    return _text(number, code, only_more=True)


def rendered(number: float, code: str) -> str | None:
    """Return what a cell shows, digits alone too; None for a format that is not rendered."""
    return _text(number, code, only_more=False)


def kept(number: float) -> Decimal:
    """Return what a spreadsheet program keeps of a number: its first 15 significant digits."""
    return _EXCEL.create_decimal(repr(number))


@lru_cache(FORMATS_AT_HAND)
def says_more(code: str) -> bool:
    """Return whether some number has a text by ``shown``."""
    return any(section.says_more for section in _parsed(code) or ())


def _text(number: float, code: str, *, only_more: bool) -> str | None:
    sections = _parsed(code)
    if sections is None or (only_more and not says_more(code)):
        return None
    value = kept(number)
    if not value.is_finite():
        return None
    section, is_negative = _chosen(sections, value)
    if section is None or (only_more and not section.says_more):
        return None
    text = _rendered(section, abs(value))
    if value < 0:
        # Red is a sign to the eye. In a text, the number would pass as a positive one.
        if is_negative:
            others = (other for other in sections if other is not section)
            unsigned = text in (_rendered(other, abs(value)) for other in others)
        else:
            unsigned = not any(sign in section.literals for sign in ("-", "("))
        text = f"-{text}" if unsigned else text
    return " ".join(text.split()) or None


def _chosen(sections: Sequence[_Section], value: Decimal) -> tuple[_Section | None, bool]:
    """Return the section for ``value``, and whether it is one for negative numbers alone."""
    first, rest = sections[0], sections[1:3]
    if first.condition is not None:
        if _holds(first.condition, value):
            sign, limit = first.condition
            return first, sign in ("<", "<=") and limit <= 0
        if len(rest) == 2 and _holds(rest[0].condition or ("<", Decimal(0)), value):
            return rest[0], False
        return (rest[-1] if rest else None), False
    if any(section.condition for section in rest):
        return None, False
    if value < 0 and rest:
        return rest[0], True
    if value == 0 and len(rest) == 2:
        return rest[1], False
    return first, False


def _holds(condition: tuple[str, Decimal], value: Decimal) -> bool:
    sign, limit = condition
    return (
        ("<" in sign and value < limit)
        or (">" in sign and value > limit)
        or (sign in ("=", "<=", ">=") and value == limit)
    )


def _rendered(section: _Section, value: Decimal) -> str:
    """Return the text of a number that is not negative."""
    marks = [kind for kind, _ in section.pieces if kind]
    point = marks.index(".") if "." in marks else len(marks)
    value = _WIDE.scaleb(value, -section.scale)
    if marks == ["General"]:
        digits = [_general(value)]
    else:
        decimals = marks[point + 1 :]
        exact = value.quantize(Decimal(1).scaleb(-len(decimals)), context=_WIDE)
        whole, _, part = f"{exact:f}".partition(".")
        whole = whole.lstrip("0")
        digits = _whole_digits(marks[:point], whole, grouped=section.grouped)
        if point < len(marks):
            digits += ["." if point else f"{whole}.", *_part_digits(decimals, part)]
    texts = iter(digits)
    return "".join(next(texts) if kind else text for kind, text in section.pieces)


def _whole_digits(marks: Sequence[str], digits: str, *, grouped: bool) -> list[str]:
    """Return the text of each mark before the point; the first takes all the digits left of it."""
    texts = []
    for place, mark in enumerate(reversed(marks)):
        is_last = place == len(marks) - 1
        held = digits[: len(digits) - place] if is_last else digits[len(digits) - place - 1 :][:1]
        if place >= len(digits):
            held = {"0": "0", "?": " "}.get(mark, "")
        texts.append(_grouped(held, place) if grouped else held)
    return texts[::-1]


def _grouped(digits: str, place: int) -> str:
    """Return digits with commas; ``place`` digits stand right of them."""
    if not digits.isdigit():
        return digits
    commas = [
        digit + ("," if right and right % 3 == 0 else "")
        for right, digit in zip(range(place + len(digits) - 1, place - 1, -1), digits, strict=True)
    ]
    return "".join(commas)


def _part_digits(marks: Sequence[str], digits: str) -> list[str]:
    """Return the text of each mark behind the point."""
    kept = len(digits.rstrip("0"))
    return [
        digit if place < kept or mark == "0" else {"?": " "}.get(mark, "")
        for place, (mark, digit) in enumerate(zip(marks, digits, strict=True))
    ]


def _general(value: Decimal) -> str:
    if value >= GENERAL_LIMIT:
        return f"{float(value):.5E}"
    text = f"{_GENERAL.plus(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(FORMATS_AT_HAND)
def _parsed(code: str) -> tuple[_Section, ...] | None:
    """Return the format's sections, None if it is not rendered."""
    if len(code) > MAX_CHARS:
        return None
    sections: list[list[re.Match[str]]] = [[]]
    for token in _TOKEN.finditer(code):
        if token["other"] == ";":
            sections.append([])
        else:
            sections[-1].append(token)
    if len(sections) > MAX_SECTIONS:
        return None
    if len(sections) > 1 and any(token["other"] == "@" for token in sections[-1]):
        sections.pop()  # that one is for text
    parsed = [_section(tokens) for tokens in sections[:3]]
    return None if None in parsed else tuple(section for section in parsed if section)


def _section(tokens: Sequence[re.Match[str]]) -> _Section | None:
    pieces: list[tuple[str, str]] = []
    condition = None
    commas: list[int] = []  # of each: how many marks stand before it
    percents = marks = 0
    for token in tokens:
        mark = token["other"] or ""
        if mark and mark in _NOT_RENDERED:
            return None
        if (found := _CONDITION.fullmatch(token["bracket"] or "")) is not None:
            condition = found[1], Decimal(found[2])
        elif token["general"]:
            pieces.append(("General", ""))
        elif mark in _DIGITS or (mark == "." and (".", "") not in pieces):
            pieces.append((mark, ""))
            marks += 1
        elif mark == ",":
            commas.append(marks)
        else:
            literal = _literal(token)
            if literal is None:
                return None
            percents += mark == "%"
            pieces.append(("", literal))
    kinds = [kind for kind, _ in pieces if kind]
    if percents > MAX_PERCENTS or ("General" in kinds and len(kinds) > 1):
        return None
    point = kinds.index(".") if "." in kinds else len(kinds)
    # A comma behind the last digit, or the last before the point, divides by a thousand.
    thousands = sum(before in (len(kinds), point) for before in commas if before)
    return _Section(
        tuple(pieces),
        grouped=any(0 < before < point for before in commas),
        scale=3 * thousands - 2 * percents,
        condition=condition,
        says_more=_says_more(pieces),
    )


def _literal(token: re.Match[str]) -> str | None:
    """Return what a token shows whatever the number is, None for one that is not rendered."""
    bracket = token["bracket"]
    if bracket is not None:  # a currency with its language, or a colour
        currency = bracket[1:].partition("-")[0] if bracket.startswith("$") else None
        return "" if _COLOUR.fullmatch(bracket) else currency
    if token["space"] or token["fill"]:
        return " " if token["space"] else ""
    return token["quoted"] or token["escaped"] or token["other"] or ""


def _says_more(pieces: Sequence[tuple[str, str]]) -> bool:
    places = [place for place, (kind, _) in enumerate(pieces) if kind]
    first, last = (places[0], places[-1]) if places else (len(pieces), len(pieces))
    outer = "".join(text for _, text in (*pieces[:first], *pieces[last:]))
    inner = "".join(text for _, text in pieces[first:last])
    return bool("".join(outer.split()).strip(_SIGNS) or inner.strip())
