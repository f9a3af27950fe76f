"""The form in which a quote and a page are compared: letters, numbers and signs, without layout.

Whitespace, hyphens, brackets, quotation marks and the punctuation of sentences are left out, and
ligatures are letters, so that a line break, a hyphenation or the border of a table changes nothing.
A number stands between two `MARK`s with its separators and its sign: another digit, a longer number
or the numbers of two cells are another text.

Each step is one call of a regular expression for the whole text, because a worker does this for
every row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Parts the words.
BETWEEN_WORDS = "\n"
#: Stands before and after each number.
MARK = "|"
#: The sign of a negative number.
MINUS = "~"

#: Hyphens, dashes and the minus of mathematics.
_DASHES = re.compile("[\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d]")
#: A hyphen that is only there for the line's end. PDFium writes U+0002 or U+FFFE for it.
_SOFT_HYPHENS = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\x02\ufffe]")
_APOSTROPHES = re.compile("[\u2018\u2019\u201a\u201b\u2032\u02bc]")
#: Numbers of footnotes.
_RAISED_DIGITS = re.compile("(?<=\\d)[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+")

#: The pieces that are compared. Hyphens and brackets are only those of a negative number: `-42.00`
#: and `$-42.00`, but not `INV-0042`; `(42.00)`, as accounts show it; `42.00-`, as some print it.
_PIECES = re.compile(
    r"""
    [a-z]+(?:[^\W\d_]+)?
    |\n
    |\d+(?:[.,']\d+)*
    |[^\W\d_]+
    |(?<![\w.])\.\d+(?:[.,']\d+)*
    |[%‰/<>≤≥±$€£¥¢\u20a0-\u20cf]
    |(?<![^\s(\[:;=$€£¥])-(?=[$€£¥]?\.?\d)
    |\((?=[$€£¥]?\.?\d[\d.,']*[$€£¥]?\))
    |(?<=\d)-(?![\w-])
    """,
    re.VERBOSE,
)

#: Letters that character recognition takes for digits, and digits for letters. Each digit is of
#: one class alone, so that two different digits never become the same.
_AS_DIGITS = str.maketrans("OoQlISBZ", "00011582")
_PERHAPS_A_NUMBER = re.compile(r"[\dOoQlISBZ]+(?:[.,'][\dOoQlISBZ]+)*")
_AS_LETTERS = str.maketrans("01568", "olsbb")
_DIGIT = re.compile(r"\d")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[01568]+(?=[^\W\d_])")
_ACCENTS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile(r"(?<=\d)[.,':](?=\d)")
#: Pairs of letters that look like one letter.
_PAIRS = (("rn", "m"), ("ri", "n"), ("vv", "w"), ("cl", "d"))
_ALIKE = str.maketrans("ij", "ll")


def normal_form(words: Iterable[str]) -> str:
    """Return the normal form of ``words``, with `BETWEEN_WORDS` between two of them.

    A word that holds only punctuation is empty in it: the form has as many words as were given.
    """
    text = _one_kind_of_marks(BETWEEN_WORDS.join(words))
    return _without_layout(text.casefold())


def lenient_form(words: Iterable[str], *, is_recognized: bool) -> str:
    """Return the normal form in which the usual mistakes of character recognition are equal.

    Letters next to digits are digits and digits within words are letters; accents are gone. In text
    that ``is_recognized`` from an image, points and commas of a number are equal, too. A number's
    digits never are.
    """
    text = _one_kind_of_marks(BETWEEN_WORDS.join(words))
    text = with_digits(text)
    text = _BETWEEN_LETTERS.sub(lambda found: found[0].translate(_AS_LETTERS), text)
    if not text.isascii():
        text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    text = text.casefold()
    if is_recognized:
        text = _SEPARATORS.sub(".", text)
    for pair, letter in _PAIRS:
        text = text.replace(pair, letter)
    return _without_layout(text.translate(_ALIKE))


def with_digits(text: str) -> str:
    """Return recognized text whose letters next to digits are the digits that they look like."""
    return _PERHAPS_A_NUMBER.sub(_as_number, text)


def _one_kind_of_marks(text: str) -> str:
    if text.isascii():
        return text.replace("\x02", "")
    text = _RAISED_DIGITS.sub("", _SOFT_HYPHENS.sub("", text))
    text = unicodedata.normalize("NFKC", text).replace("×", "x")
    return _APOSTROPHES.sub("'", _DASHES.sub("-", text))


def _as_number(found: re.Match[str]) -> str:
    text = found[0]
    return text.translate(_AS_DIGITS) if _DIGIT.search(text) else text


def _without_layout(text: str) -> str:
    pieces = [
        MARK + piece + MARK if piece[-1].isdecimal() else piece for piece in _PIECES.findall(text)
    ]
    return "".join(pieces).replace("-", MINUS).replace("(", MINUS)
